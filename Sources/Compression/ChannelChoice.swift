public import Graph
internal import Tensor

/// Channels of a model that go, and what that means for its parameters.
public struct ChannelChoice: Sendable {
    public let groups: ChannelGroups
    /// The units that go.
    public let removed: Set<Int>

    /// Makes a choice of units that can go.
    ///
    /// - Parameters:
    ///   - groups: The model's channels.
    ///   - removed: Units of its groups, of which every layer keeps one channel at least.
    public init(groups: ChannelGroups, removed: Set<Int>) {
        (self.groups, self.removed) = (groups, removed)
    }

    /// Part of all units of groups that is gone.
    public var sparsity: Double {
        let whole = groups.groups.reduce(0) { $0 + $1.units.count }
        return whole == 0 ? 0 : Double(removed.count) / Double(whole)
    }

    /// The indices along an axis of a parameter that stay; nil where all do.
    public func kept(_ parameter: Graph.ParameterID, axis: Int) -> [Int]? {
        groups.kept(parameter, axis, without: removed)
    }

    /// The masks that make the whole model compute what the shrunk one does.
    ///
    /// They cover whatever shrinking removes: filters, biases, scales and shifts of the channels, and what
    /// reads them. Running statistics are left as they are.
    public var masks: [Graph.ParameterID: Mask] {
        var masks: [Graph.ParameterID: Mask] = [:]
        for id in groups.graph.parameterIDs where groups.graph[id].role.isLearned {
            if let mask = mask(of: id) { masks[id] = mask }
        }
        return masks
    }

    private func mask(of id: Graph.ParameterID) -> Mask? {
        let shape = groups.graph[id].shape
        var elements: [UInt8]?
        var inner = shape.elementCount
        for axis in 0..<shape.rank {
            inner /= shape[axis]
            guard let kept = kept(id, axis: axis) else { continue }
            var isKept = [UInt8](repeating: 0, count: shape[axis])
            for index in kept { isKept[index] = 1 }
            var mask = elements ?? [UInt8](repeating: 1, count: shape.elementCount)
            for element in mask.indices where isKept[element / inner % shape[axis]] == 0 {
                mask[element] = 0
            }
            elements = mask
        }
        return elements.map { Mask($0) }
    }
}

extension ChannelGroups {
    /// How many channels a layer of a group can lose, and how many each unit takes.
    struct Room {
        var left: Int
        let channels: [Int: Int]
    }

    /// The rooms of a group's layers when each keeps a number of channels; of heads one is enough.
    func rooms(of group: Group, minimum: Int) -> [Room] {
        let layers = Set(group.layers)
        let minimum = group.isOfHeads ? 1 : minimum
        return analysis.filters.filter { layers.contains($0.layer) }.map { filters in
            let count = graph[filters.parameter].shape[filters.axis]
            let perLabel = count / filters.labels.count
            let channels = Dictionary(
                filters.labels.map { (roots[$0], perLabel) }, uniquingKeysWith: { $0 + $1 })
            return Room(left: max(0, count - max(1, minimum, filters.least)), channels: channels)
        }
    }

    /// The first units of an order whose going leaves every layer of the group enough channels.
    func removable(_ order: [Int], of group: Group, count: Int, minimum: Int) -> [Int] {
        var rooms = rooms(of: group, minimum: minimum)
        var removed: [Int] = []
        for unit in order where removed.count < count {
            guard rooms.allSatisfy({ $0.left >= ($0.channels[unit] ?? 0) }) else { continue }
            for index in rooms.indices { rooms[index].left -= rooms[index].channels[unit] ?? 0 }
            removed.append(unit)
        }
        return removed
    }

    /// Whether every unit of a group has a batch normalisation.
    func hasScales(_ group: Group) -> Bool {
        let scaled = Set(analysis.scales.flatMap(\.labels).map { roots[$0] })
        return group.units.allSatisfy(scaled.contains)
    }
}
