public import Graph
internal import Tensor

/// The channels of a model that can go, and those that have to go together.
public struct ChannelGroups: Sendable {
    /// Layers whose channels belong together one by one.
    public struct Group: Sendable {
        /// The layers that make these channels, in the graph's order.
        public let layers: [String]
        /// What can go: each unit is one channel of each layer, several where layers are grouped, or a head.
        public let units: [Int]
        /// Why other units of these layers cannot.
        public let pins: [String]
        /// Whether a unit is a head of attention: its rows of queries, keys and values.
        public let isOfHeads: Bool

        /// What goes as one, in the plural.
        var piece: String { isOfHeads ? "heads" : "channels" }
    }

    public let graph: Graph
    public let groups: [Group]
    let analysis: ChannelAnalysis
    /// The root of each unit.
    let roots: [Int]

    /// Analyses a graph.
    public init(_ graph: Graph) {
        self.graph = graph
        let analysis = ChannelAnalysis(graph)
        self.analysis = analysis
        roots = analysis.roots
        groups = Self.groups(of: analysis)
    }

    /// Why channels of a layer cannot go, all of them or some; empty when all can.
    public func pins(of layer: String) -> [String] {
        groups.first { $0.layers.contains(layer) }?.pins ?? []
    }

    private static func groups(of analysis: ChannelAnalysis) -> [Group] {
        let roots = analysis.roots
        let pins = analysis.pins
        let heads = Set(analysis.heads.map { roots[$0] })
        // Layers that share a unit that can go belong to one group.
        var forest = DisjointSets()
        let members = forest.add(analysis.filters.count)
        var firstMember: [Int: Int] = [:]
        for (member, filters) in zip(members, analysis.filters) {
            for unit in Set(filters.labels.map { roots[$0] }) where pins[unit] == nil {
                if let other = firstMember[unit] {
                    forest.join(other, member)
                } else {
                    firstMember[unit] = member
                }
            }
        }
        let grouped = Dictionary(grouping: members) { forest.root($0) }
        return grouped.values.sorted { ($0.first ?? 0) < ($1.first ?? 0) }.map { members in
            var (units, reasons, seen) = ([Int](), [String](), Set<Int>())
            for member in members {
                for unit in analysis.filters[member].labels.map({ roots[$0] })
                where seen.insert(unit).inserted {
                    if let reason = pins[unit] {
                        if !reasons.contains(reason) { reasons.append(reason) }
                    } else {
                        units.append(unit)
                    }
                }
            }
            var layers: [String] = []
            for member in members where !layers.contains(analysis.filters[member].layer) {
                layers.append(analysis.filters[member].layer)
            }
            return Group(
                layers: layers, units: units, pins: reasons, isOfHeads: units.contains(where: heads.contains))
        }
    }

    // MARK: - What is left

    /// The indices along an axis of a parameter that stay; nil where all do.
    func kept(_ parameter: Graph.ParameterID, _ axis: Int, without removed: Set<Int>) -> [Int]? {
        let key = ChannelAnalysis.Axis(parameter: parameter, axis: axis)
        guard let labels = analysis.axes[key] else { return nil }
        let isKept = labels.units.map { !removed.contains(roots[$0]) }
        guard isKept.contains(false) else { return nil }
        return (0..<graph[parameter].shape[axis]).filter { isKept[$0 / labels.inner % isKept.count] }
    }

    /// How many of a value's channels stay.
    func channelCount(_ value: Graph.ValueID, without removed: Set<Int>) -> Int {
        shape(value, without: removed).channels
    }

    /// A value's extents, and its channels, without the units that go.
    func shape(
        _ value: Graph.ValueID, without removed: Set<Int>
    ) -> (dimensions: [Int], channels: Int) {
        let labels = analysis.labels[value.index]
        let isKept = labels.map { !removed.contains(roots[$0]) }
        let share = isKept.count { $0 }
        let before = graph[value]
        var dimensions = before.shape.dimensions
        if before.channels % labels.count == 0 {
            let channels = before.channels / labels.count * share
            switch before.order {
            case .plain: if !dimensions.isEmpty { dimensions[dimensions.count - 1] = channels }
            case .channelsLast, .flattened: dimensions[0] = channels
            }
            return (dimensions, channels)
        }
        // A column `[channels, 1, 1]`.
        dimensions[0] = dimensions[0] / labels.count * share
        return (dimensions, before.channels)
    }
}

extension ChannelAnalysis {
    /// The root of every unit.
    var roots: [Int] { (0..<unitCount).map(root) }
}
