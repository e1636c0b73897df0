internal import Graph
internal import Tensor

/// Where a forward pass can be cut so that one value carries everything across, and be repeated from there.
///
/// Keeping only those values and computing what lies between again trades a second forward pass for memory
/// (Chen et al., "Training deep nets with sublinear memory cost", 2016).
struct Segments {
    /// Node ranges in order, the first beginning at node 0.
    let ranges: [Range<Int>]

    /// Cuts a graph into at most `count` parts whose activations take about the same memory.
    init(_ graph: Graph, count: Int) {
        let total = graph.nodes.count
        guard count > 1, total > 1 else {
            ranges = [0..<total]
            return
        }
        var sizes: [Int] = []
        var sum = 0
        for node in graph.nodes {
            if !node.operation.isView { sum += graph[node.output].shape.elementCount }
            sizes.append(sum)
        }
        let places = Self.places(graph)
        var cuts: [Int] = []
        for part in 1..<count {
            let goal = sum / count * part
            // The first place at or behind its share of the memory.
            guard let place = places.first(where: { $0 > (cuts.last ?? 0) && sizes[$0 - 1] >= goal }) else {
                break
            }
            cuts.append(place)
        }
        let bounds = [0] + cuts + [total]
        ranges = zip(bounds, bounds.dropFirst()).map { $0..<$1 }
    }

    /// Numbers of nodes behind which exactly one computed value is still to be read, but for lengths, which
    /// are a number a sample and kept anyhow.
    private static func places(_ graph: Graph) -> [Int] {
        var lastReader = [Int](repeating: -1, count: graph.values.count)
        for (index, node) in graph.nodes.enumerated() {
            for input in node.inputs { lastReader[input.index] = index }
        }
        lastReader[graph.output.index] = graph.nodes.count
        // Values that are read for the last time by each node.
        var ending = [Int](repeating: 0, count: graph.nodes.count + 1)
        var live = 0
        var places: [Int] = []
        for (index, node) in graph.nodes.enumerated() {
            live -= ending[index]
            let last = lastReader[node.output.index]
            if last > index, graph[node.output].element == .real {
                live += 1
                ending[last] += 1
            }
            guard live == 1, index + 1 < graph.nodes.count else { continue }
            // What may run inside the node before it must stay with it, as must a depthwise convolution that
            // may normalise what it reads.
            switch graph.nodes[index + 1].operation {
            case .activation, .add: continue
            case .convolution(let window) where window.groups > 1: continue
            default: places.append(index + 1)
            }
        }
        return places
    }
}
