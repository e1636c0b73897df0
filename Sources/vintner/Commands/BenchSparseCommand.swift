import ArgumentParser
import Graph
import JSON
import Jobs
import Kernels
import Plan
import Tensor
import Training

/// `vintner bench-sparse`: times layers with all their weights against the same without zeros, as lines of
/// JSON.
struct BenchSparseCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench-sparse",
        abstract: "Time layers with and without the zeros of their weights, on random data.")

    @Option(help: "Threads of a run.")
    var threads = 2
    @Option(help: "Samples of a run; give it several times for several sizes.")
    var batch = [1, 64]
    @Option(help: "Part of the weights that are not zero, likewise.")
    var density = [0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01]

    /// Names, inputs and layers: of LeNet-300-100, LeNet-5-Caffe, and larger ones.
    private static let subjects: [(name: String, input: [Int], layer: String)] = [
        ("784 -> 300", [784], #"{"type": "linear", "out_features": 300}"#),
        ("300 -> 100", [300], #"{"type": "linear", "out_features": 100}"#),
        ("800 -> 500", [800], #"{"type": "linear", "out_features": 500}"#),
        ("512 -> 512", [512], #"{"type": "linear", "out_features": 512}"#),
        ("1024 -> 1024", [1024], #"{"type": "linear", "out_features": 1024}"#),
        ("1 -> 20, 5x5, 28x28", [1, 28, 28], #"{"type": "conv2d", "out_channels": 20, "kernel_size": 5}"#),
        ("20 -> 50, 5x5, 12x12", [20, 12, 12], #"{"type": "conv2d", "out_channels": 50, "kernel_size": 5}"#),
        (
            "64 -> 64, 3x3, 16x16", [64, 16, 16],
            #"{"type": "conv2d", "out_channels": 64, "kernel_size": 3, "padding": 1}"#
        ),
        (
            "64 -> 128, 1x1, 16x16", [64, 16, 16],
            #"{"type": "conv2d", "out_channels": 128, "kernel_size": 1}"#
        ),
    ]

    func run() throws {
        ThreadTeam.use(threads)
        for subject in Self.subjects {
            let json = try JSONValue(
                parsing: #"{"input": \#(subject.input), "layers": [\#(subject.layer)]}"#)
            let log = ViolationLog()
            let spec = ModelSpec.read(json, at: "", data: DataShape(), log: log)
            try log.throwIfAny()
            guard let spec, let id = spec.graph.parameterIDs.first(where: { spec.graph[$0].role == .weight })
            else { continue }
            for density in density {
                for format in SparseLayout.Format.allCases {
                    let weights = Self.weights(spec.graph[id].shape, density, format)
                    try compare(spec.graph, id, weights, format) { batch, dense, sparse in
                        let line: JSONValue = [
                            "layer": .string(subject.name), "batch": JSONValue(batch),
                            "density": .number(density), "format": .string(format.rawValue),
                            "dense_us": .number(dense * 1e6), "sparse_us": .number(sparse * 1e6),
                            "threads": JSONValue(threads),
                        ]
                        Terminal.say(line.encoded())
                    }
                }
            }
        }
    }

    /// Random weights, of which a part is not zero: each on its own, or four neighbouring outputs together.
    private static func weights(_ shape: Shape, _ density: Double, _ format: SparseLayout.Format) -> [Float] {
        var random = CounterRandom(seed: 1, purpose: .test)
        let width = shape.elementCount / shape[0]
        var weights = [Float](repeating: 0, count: shape.elementCount)
        let rows = format == .csr ? 1 : 4
        for first in stride(from: 0, to: shape[0], by: rows) {
            for column in 0..<width where Double(random.uniform()) < density {
                for row in first..<min(first + rows, shape[0]) {
                    weights[row * width + column] = random.uniform() - 0.5
                }
            }
        }
        return weights
    }

    private func compare(
        _ graph: Graph, _ id: Graph.ParameterID, _ weights: [Float], _ format: SparseLayout.Format,
        _ report: (_ batch: Int, _ dense: Double, _ sparse: Double) -> Void
    ) throws {
        let layout = SparseLayout(format, of: weights, outputs: graph[id].shape[0])
        var sparse = LoweringOptions()
        sparse.sparse[id] = SparseWeights(few: layout, many: layout)
        var models: [InferenceModel] = []
        for options in [LoweringOptions(), sparse] {
            models.append(
                try InferenceModel(graph, batches: batch, options: options) { other in
                    other == id ? weights : [Float](repeating: 0, count: graph[other].shape.elementCount)
                })
        }
        for batch in batch {
            let found = try SparseTrial.layerTimes(of: models, batch: batch) { time.monotonicNanoseconds() }
            guard let found, let dense = found[0].values.first, let sparse = found[1].values.first else {
                continue
            }
            report(batch, dense, sparse)
        }
    }

    private var time: SystemTime { SystemTime() }
}
