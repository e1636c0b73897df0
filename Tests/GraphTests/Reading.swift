import Graph
import JSON
import Tensor

/// Reads a model as a request would bring it.
func readModel(
    _ text: String, dataset: [Int]? = [1, 28, 28], classes: Int? = 10
) throws -> (model: ModelSpec?, violations: [Violation]) {
    let log = ViolationLog()
    let model = ModelSpec.read(
        try JSONValue(parsing: Array(text.utf8)), at: "/model",
        datasetInput: try dataset.map { try Shape($0) },
        classes: classes, log: log)
    return (model, log.violations)
}

/// A model of layers that must be right.
func makeGraph(_ input: [Int], _ kinds: LayerKind...) throws -> Graph {
    let layers = kinds.enumerated().map { LayerSpec($1, name: "layer\($0)") }
    return try ModelSpec(input: Shape(input), layers: layers).graph
}
