public import Graph
public import JSON
internal import Tensor

/// Chooses the channels that go.
///
/// Counts are of units, the nearest to the asked part; ties go by index, and what is gone never comes back.
/// No layer loses its last channel, whatever is asked.
public struct ChannelSelection: Sendable {
    public let options: PruneOptions
    public let groups: ChannelGroups
    /// What `random` draws from.
    public let seed: UInt64
    /// The groups that are pruned, by place in `groups`, with the sparsity of their own where they have one.
    private let candidates: [(group: Int, ownSparsity: Double?)]

    /// Checks options against a model.
    ///
    /// - Parameters:
    ///   - options: What is asked; its structure is `channel`.
    ///   - graph: The model.
    ///   - pointer: Where `prune` stands in the document.
    ///   - seed: What `random` draws from.
    /// - Throws: Every violation: unknown or excluded names, layers none of whose channels can go, with the
    ///   reason, and a target that the layers' limits do not allow.
    public init(
        _ options: PruneOptions, graph: Graph, at pointer: String, seed: UInt64
    ) throws(InvalidInput) {
        let groups = ChannelGroups(graph)
        (self.options, self.groups, self.seed) = (options, groups, seed)
        let log = ViolationLog()
        let names = LayerNames(graph, channels: groups.groups)
        let excluded = names.excluded(by: options, at: pointer, log)
        names.checkPerLayer(options, excluded: excluded, at: pointer, log)
        var candidates: [(group: Int, ownSparsity: Double?)] = []
        for (index, group) in groups.groups.enumerated() where excluded.isDisjoint(with: group.layers) {
            let named = group.layers.filter { options.perLayer[$0] != nil }
            // The least of what its layers ask for: none loses more than it was said to.
            let own = named.compactMap { options.perLayer[$0] }.min()
            if let name = named.first, group.units.count < 2 {
                log.add(
                    Self.pointer(to: name, pointer), "invalid_value",
                    group.isOfHeads && group.pins.isEmpty
                        ? "\"\(name)\" has one head, which stays"
                        : "no channel of \"\(name)\" can go: "
                            + (group.pins.first ?? "all of them belong together"))
            } else if let name = named.first, let own, own > options.maxPerLayer || own < options.minPerLayer
            {
                log.add(
                    Self.pointer(to: name, pointer), "out_of_range",
                    "\(name) may lose from \(options.minPerLayer) to \(options.maxPerLayer) of its "
                        + "\(group.piece), found \(own)")
            }
            let hasScore = options.criterion != .bnScale || groups.hasScales(group)
            if group.units.count > 1, hasScore { candidates.append((index, own)) }
        }
        self.candidates = candidates
        if candidates.isEmpty, log.isEmpty {
            let reason =
                options.criterion == .bnScale
                ? "no layer has a batch normalisation behind it"
                : groups.groups.flatMap(\.pins).first ?? "every layer is excluded"
            log.add(pointer, "invalid_value", "no channel can go: \(reason)")
        }
        if log.isEmpty { checkTotal(at: pointer, log) }
        try log.throwIfAny()
    }

    /// The units that go.
    ///
    /// - Parameters:
    ///   - numbers: What the criterion looks at, in PyTorch's order, of every weight (of every batch
    ///     normalisation's scale for `bn_scale`).
    ///   - previous: What is gone already.
    ///   - sparsity: What a schedule makes of a target now.
    ///   - target: The part of the channels to go, in place of the options'.
    /// - Returns: The choice.
    /// - Throws: `CompressionError` when numbers are missing or the layers' limits do not allow the sparsity.
    public func choose(
        _ numbers: [Graph.ParameterID: [Float]], previous: ChannelChoice? = nil,
        sparsity: (Double) -> Double = { $0 }, target: Double? = nil
    ) throws(CompressionError) -> ChannelChoice {
        let ranked = try rank(numbers, previous: previous)
        return try choose(ranked, previous: previous, sparsity: sparsity, target: target)
    }

    /// The rankings of the candidates, which a search for a constraint needs once alone.
    func rank(
        _ numbers: [Graph.ParameterID: [Float]], previous: ChannelChoice? = nil
    ) throws(CompressionError) -> [Ranking] {
        let importance = ChannelImportance(groups: groups, options: options, seed: seed, numbers: numbers)
        var rankings: [Ranking] = []
        for candidate in candidates {
            let group = groups.groups[candidate.group]
            let scores = try importance.scores(of: group) ?? []
            let kept = previous.map { previous in
                group.units.map { previous.removed.contains($0) ? UInt8(0) : 1 }
            }
            rankings.append(Ranking(scores, isKept: kept))
        }
        return rankings
    }

    func choose(
        _ rankings: [Ranking], previous: ChannelChoice?, sparsity: (Double) -> Double, target: Double?
    ) throws(CompressionError) -> ChannelChoice {
        let counts = try counts(rankings, sparsity, target ?? options.targetSparsity)
        var removed = previous?.removed ?? []
        for (index, candidate) in candidates.enumerated() {
            let group = groups.groups[candidate.group]
            let order = rankings[index].first(rankings[index].count).map { group.units[$0] }
            let most = rounded(counts[index], of: group)
            removed.formUnion(
                groups.removable(order, of: group, count: most, minimum: options.minChannels))
        }
        return ChannelChoice(groups: groups, removed: removed)
    }

    /// Fewer, so that a multiple of `round_to` stays; heads are no channels to round.
    private func rounded(_ count: Int, of group: ChannelGroups.Group) -> Int {
        guard !group.isOfHeads else { return count }
        let kept = group.units.count - count
        let multiple = (kept + options.roundTo - 1) / options.roundTo * options.roundTo
        return group.units.count - min(group.units.count, multiple)
    }

    /// How many units each candidate loses in all, before rounding.
    private func counts(
        _ rankings: [Ranking], _ sparsity: (Double) -> Double, _ target: Double
    ) throws(CompressionError) -> [Int] {
        var counts = rankings.map(\.prunedCount)
        var joint: [Int] = []
        for (index, candidate) in candidates.enumerated() {
            let asked = candidate.ownSparsity ?? (options.scope == .layer ? target : nil)
            guard let asked else {
                joint.append(index)
                continue
            }
            let limits = limits(of: rankings[index], candidate.group, sparsity)
            let count = Share.count(sparsity(asked), of: rankings[index].count)
            counts[index] = min(limits.upperBound, max(limits.lowerBound, count))
        }
        let limits = joint.map { self.limits(of: rankings[$0], candidates[$0].group, sparsity) }
        let whole = joint.reduce(0) { $0 + rankings[$1].count }
        let total = max(
            limits.reduce(0) { $0 + $1.lowerBound }, Share.count(sparsity(target), of: whole))
        let found = JointRanking.counts(
            joint.map { rankings[$0] }, total: total, least: limits.map(\.lowerBound),
            most: limits.map(\.upperBound))
        guard let found else {
            let most = limits.reduce(0) { $0 + $1.upperBound }
            throw .sparsityOutOfReach(
                asked: sparsity(target), reachable: Double(most) / Double(max(whole, 1)))
        }
        for (index, count) in zip(joint, found) { counts[index] = count }
        return counts
    }

    private func limits(
        of ranking: Ranking, _ group: Int, _ sparsity: (Double) -> Double
    ) -> ClosedRange<Int> {
        let most = max(ranking.prunedCount, mostRemoved(of: groups.groups[group]))
        let share = min(options.minPerLayer, sparsity(options.minPerLayer))
        return min(most, max(ranking.prunedCount, Share.count(share, of: ranking.count)))...most
    }

    /// The most units of a group that can go.
    private func mostRemoved(of group: ChannelGroups.Group) -> Int {
        let count = group.units.count
        let room = groups.removable(
            group.units, of: group, count: count, minimum: options.minChannels
        ).count
        return min(Share.countMax(options.maxPerLayer, of: count), room)
    }

    /// The largest part of the channels that can go, of groups that have no sparsity of their own.
    public var reachableSparsity: Double {
        let free = candidates.filter { $0.ownSparsity == nil }.map { groups.groups[$0.group] }
        let whole = free.reduce(0) { $0 + $1.units.count }
        guard whole > 0 else { return 0 }
        return Double(free.reduce(0) { $0 + mostRemoved(of: $1) }) / Double(whole)
    }

    private func checkTotal(at pointer: String, _ log: ViolationLog) {
        let free = candidates.filter { $0.ownSparsity == nil }
        guard options.constraints.isEmpty, !free.isEmpty else { return }
        let place = JSONPointer.member("target_sparsity", of: pointer)
        for candidate in candidates where options.scope == .layer || candidate.ownSparsity != nil {
            let group = groups.groups[candidate.group]
            let asked = candidate.ownSparsity ?? options.targetSparsity
            let count = min(
                Share.count(asked, of: group.units.count),
                Share.countMax(options.maxPerLayer, of: group.units.count))
            guard count >= group.units.count, let layer = group.layers.first else { continue }
            let own = group.layers.first { options.perLayer[$0] != nil }
            log.add(
                own.map { Self.pointer(to: $0, pointer) } ?? place, "out_of_range",
                "\(asked) leaves none of the \(group.units.count) \(group.piece) of \(layer)")
        }
        guard options.scope == .global else { return }
        let whole = free.reduce(0) { $0 + groups.groups[$1.group].units.count }
        let most = free.reduce(0) { $0 + mostRemoved(of: groups.groups[$1.group]) }
        let asked = Share.count(options.targetSparsity, of: whole)
        guard asked > most else { return }
        let pieces = Set(free.map { groups.groups[$0.group].piece }).sorted().joined(separator: " and ")
        log.add(
            place, "out_of_range",
            "\(options.targetSparsity) are \(asked) of \(whole) \(pieces); the layers' limits allow \(most)")
    }

    private static func pointer(to layer: String, _ pointer: String) -> String {
        JSONPointer.member(layer, of: JSONPointer.member("per_layer", of: pointer))
    }
}
