import Graph
import JSON
import Tensor

/// Reads a model as a request would bring it.
func readModel(
    _ text: String, dataset: [Int]? = [1, 28, 28], classes: Int? = 10
) throws -> (model: ModelSpec?, violations: [Violation]) {
    try readModel(text, data: .images(try dataset.map { try Shape($0) }, classes: classes))
}

/// Reads a model for data of any kind.
func readModel(
    _ text: String, data: DataShape
) throws -> (model: ModelSpec?, violations: [Violation]) {
    let log = ViolationLog()
    let value = try JSONValue(parsing: Array(text.utf8))
    let model = ModelSpec.read(value, at: "/model", data: data, log: log)
    return (model, log.violations)
}

/// A model of layers that must be right.
func makeGraph(_ input: [Int], _ kinds: LayerKind...) throws -> Graph {
    let layers = kinds.enumerated().map { LayerSpec($1, name: "layer\($0)") }
    return try ModelSpec(input: Shape(input), layers: layers).graph
}

/// The graph of a model of layers in JSON that must be right, whatever the data.
func readGraph(_ input: [Int], _ layers: String) throws -> Graph {
    let log = ViolationLog()
    let value = try JSONValue(parsing: Array("{\"input\": \(input), \"layers\": [\(layers)]}".utf8))
    let model = ModelSpec.read(value, at: "/model", data: DataShape(), log: log)
    guard let model else { throw InvalidInput(log.violations) }
    return model.graph
}
