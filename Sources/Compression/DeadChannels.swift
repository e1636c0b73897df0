internal import Graph
internal import JSON
internal import Tensor

/// Channels that masks of single weights have emptied, which can go without changing what a model computes.
///
/// A channel is dead when nothing reads it any more, or when it is the same number for every input and that
/// number is zero or can be carried into the biases of all that reads it. Running statistics are used: this
/// holds of the model in evaluation.
public struct DeadChannels: Sendable {
    /// The channels that can go.
    public let choice: ChannelChoice
    /// Every parameter in the graph's order, with the constants of dead channels in the biases behind them.
    public let parameters: [[Float]]

    /// Finds them.
    ///
    /// - Parameters:
    ///   - groups: The model's channels.
    ///   - parameters: Every parameter in the graph's order and PyTorch's, with zeros where masks are.
    /// - Throws: `CompressionError.wrongCount` for a parameter of another size.
    public init(in groups: ChannelGroups, parameters: [[Float]]) throws(CompressionError) {
        let graph = groups.graph
        guard parameters.count == graph.parameters.count else {
            throw .wrongCount(
                parameter: "the model", expected: graph.parameters.count, found: parameters.count)
        }
        for (parameter, values) in zip(graph.parameters, parameters)
        where values.count != parameter.shape.elementCount {
            throw .wrongCount(
                parameter: parameter.name, expected: parameter.shape.elementCount, found: values.count)
        }
        let readings = Self.readings(groups, parameters)
        var removed: Set<Int> = []
        for group in groups.groups {
            let dead = group.units.filter { unit in
                guard let readings = readings[unit] else { return false }
                return readings.allSatisfy { $0.isUnread || $0.canCarry }
            }
            removed.formUnion(groups.removable(dead, of: group, count: dead.count, minimum: 1))
        }
        choice = ChannelChoice(groups: groups, removed: removed)
        var carried = parameters
        for unit in removed.sorted() {
            for reading in readings[unit, default: []] where !reading.isUnread {
                reading.carry(into: &carried)
            }
        }
        self.parameters = carried
    }

    /// One channel as one layer reads it.
    private struct Reading {
        /// Whether the layer's weights for it are all zero.
        let isUnread: Bool
        /// What it is for every input.
        let constant: Double?
        /// Whether windows also see padding there.
        let hasPadding: Bool
        let bias: Graph.ParameterID?
        /// What each of the layer's outputs multiplies it by.
        let sums: [Double]

        var canCarry: Bool {
            guard let constant else { return false }
            return constant == 0 || (bias != nil && !hasPadding)
        }

        func carry(into parameters: inout [[Float]]) {
            guard let constant, constant != 0, let bias else { return }
            for (output, sum) in sums.enumerated() {
                let before = Double(parameters[bias.index][output])
                parameters[bias.index][output] = Float(before + constant * sum)
            }
        }
    }

    /// Every reading of each unit that could go.
    private static func readings(
        _ groups: ChannelGroups, _ parameters: [[Float]]
    ) -> [Int: [Reading]] {
        let graph = groups.graph
        let constants = ChannelConstants(graph, parameters: parameters)
        let candidates = Set(groups.groups.flatMap(\.units))
        var readings: [Int: [Reading]] = [:]
        for (axis, id) in groups.analysis.readers {
            guard let labels = groups.analysis.axes[axis] else { continue }
            let shape = graph[axis.parameter].shape
            let weight = parameters[axis.parameter.index]
            let rows = Rows(weight: weight, shape: shape.dimensions, axis: axis.axis)
            let node = graph[id]
            let inputs = Self.constants(constants, node, count: shape[axis.axis], inner: labels.inner)
            for index in 0..<shape[axis.axis] {
                let unit = groups.roots[labels.units[index / labels.inner % labels.units.count]]
                guard candidates.contains(unit) else { continue }
                readings[unit, default: []].append(
                    Reading(
                        isUnread: rows.isZero(index), constant: inputs[index], hasPadding: node.seesPadding,
                        bias: graph.parameter(.bias, of: node),
                        sums: axis.axis == 1 && !node.isGrouped ? rows.sums(index) : []))
            }
        }
        return readings
    }

    /// The constants that a layer reads at each index of its weight's axis.
    private static func constants(
        _ constants: ChannelConstants, _ node: Graph.Node, count: Int, inner: Int
    ) -> [Double?] {
        let input = node.inputs[0]
        if inner > 1 {
            // Columns behind a flatten: all places of a channel, then those of the next.
            let channels = constants.channels(input, period: count / inner)
            return (0..<count).map { channels[$0 / inner] }
        }
        let channels = constants.channels(input)
        guard channels.count > count else { return channels }
        // A grouped convolution reads the same place of each group at one index.
        return (0..<count).map { place in
            let members = stride(from: place, to: channels.count, by: count)
            return members.allSatisfy { channels[$0] == 0 } ? 0 : nil
        }
    }
}

/// A weight by the indices of one axis.
private struct Rows {
    let weight: [Float]
    let shape: [Int]
    let axis: Int

    private var inner: Int { shape[(axis + 1)...].reduce(1, *) }
    private var outer: Int { shape[..<axis].reduce(1, *) }

    private func row(_ index: Int, _ outer: Int) -> ArraySlice<Float> {
        let first = (outer * shape[axis] + index) * inner
        return weight[first..<(first + inner)]
    }

    func isZero(_ index: Int) -> Bool {
        (0..<outer).allSatisfy { outer in row(index, outer).allSatisfy { $0 == 0 } }
    }

    /// Summed over the taps, for each of the outer axis.
    func sums(_ index: Int) -> [Double] {
        (0..<outer).map { outer in row(index, outer).reduce(0) { $0 + Double($1) } }
    }
}

extension Graph.Node {
    /// Whether some outputs see fewer inputs than others, so that a constant is not one behind it.
    fileprivate var seesPadding: Bool {
        switch operation {
        case .convolution(let window): window.padding != Pair(0, 0) || window.groups > 1
        case .linear: false
        default: true
        }
    }

    fileprivate var isGrouped: Bool {
        if case .convolution(let window) = operation { window.groups > 1 } else { false }
    }
}
