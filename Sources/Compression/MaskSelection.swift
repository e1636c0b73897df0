public import Graph

/// Chooses masks for parameters that are pruned weight by weight, tile by tile or n of every m.
///
/// Counts are exact: the nearest to the asked part of the original pieces, ties broken by index. What a mask
/// has pruned stays pruned.
public struct MaskSelection: Sendable {
    public let options: PruneOptions
    public let targets: [PruneTarget]
    /// What `random` draws from.
    public let seed: UInt64
    private let names: [Graph.ParameterID: String]

    /// Makes a selection over the targets of a graph.
    public init(_ options: PruneOptions, targets: [PruneTarget], graph: Graph, seed: UInt64) {
        (self.options, self.targets, self.seed) = (options, targets, seed)
        names = Dictionary(
            targets.map { ($0.parameter, graph[$0.parameter].name) }, uniquingKeysWith: { first, _ in first })
    }

    /// Chooses the masks that a step asks for.
    ///
    /// - Parameters:
    ///   - numbers: What the criterion looks at, in PyTorch's order: weights for `magnitude`, gradient times
    ///     weight for `snip` and its mean over steps for `taylor`, the sum of minus that for `movement`;
    ///     `random` needs none.
    ///   - previous: The masks so far; none for parameters that have none.
    ///   - sparsity: What a schedule makes of a target now.
    /// - Returns: A mask for each target's parameter.
    /// - Throws: `CompressionError` when numbers are missing or the layers' limits do not allow the sparsity.
    public func masks(
        _ numbers: [Graph.ParameterID: [Float]], previous: [Graph.ParameterID: Mask] = [:],
        sparsity: (Double) -> Double = { $0 }
    ) throws(CompressionError) -> [Graph.ParameterID: Mask] {
        var scores: [[Float]] = []
        for target in targets { scores.append(try self.scores(of: target, numbers)) }
        if options.structure == .ofEvery { return grouped(scores, previous) }
        let rankings = zip(targets, scores).map { target, scores in
            Ranking(scores, isKept: previous[target.parameter].map(target.pieces.kept))
        }
        let counts = try counts(rankings, sparsity)
        var masks: [Graph.ParameterID: Mask] = [:]
        for (index, target) in targets.enumerated() {
            masks[target.parameter] = target.pieces.mask(pruning: rankings[index].first(counts[index]))
        }
        return masks
    }

    private func scores(
        of target: PruneTarget, _ numbers: [Graph.ParameterID: [Float]]
    ) throws(CompressionError) -> [Float] {
        let name = names[target.parameter] ?? target.layer
        if options.criterion == .random {
            return Scoring.random(target.pieces.scoredCount, seed: seed, name: name)
        }
        let found = numbers[target.parameter] ?? []
        guard found.count == target.pieces.elementCount else {
            throw .wrongCount(
                parameter: name, expected: target.pieces.elementCount, found: found.count)
        }
        return target.pieces.scores(found, Scoring(options))
    }

    private func grouped(
        _ scores: [[Float]], _ previous: [Graph.ParameterID: Mask]
    ) -> [Graph.ParameterID: Mask] {
        var masks: [Graph.ParameterID: Mask] = [:]
        for (target, scores) in zip(targets, scores) {
            masks[target.parameter] = target.pieces.grouped(scores, previous: previous[target.parameter])
        }
        return masks
    }

    /// How many pieces each target loses in all.
    private func counts(
        _ rankings: [Ranking], _ sparsity: (Double) -> Double
    ) throws(CompressionError) -> [Int] {
        var counts = rankings.map(\.prunedCount)
        var ranked: [Int] = []
        for (index, target) in targets.enumerated() {
            let asked = target.ownSparsity ?? (options.scope == .layer ? options.targetSparsity : nil)
            guard let asked else {
                ranked.append(index)
                continue
            }
            let limits = limits(of: rankings[index], sparsity)
            let count = Share.count(sparsity(asked), of: target.pieceCount)
            counts[index] = min(limits.upperBound, max(limits.lowerBound, count))
        }
        guard !ranked.isEmpty else { return counts }
        let limits = ranked.map { self.limits(of: rankings[$0], sparsity) }
        let whole = ranked.reduce(0) { $0 + rankings[$1].count }
        let least = limits.reduce(0) { $0 + $1.lowerBound }
        let total = max(least, Share.count(sparsity(options.targetSparsity), of: whole))
        let joint = JointRanking.counts(
            ranked.map { rankings[$0] }, total: total, least: limits.map(\.lowerBound),
            most: limits.map(\.upperBound))
        guard let joint else {
            let most = limits.reduce(0) { $0 + $1.upperBound }
            throw .sparsityOutOfReach(
                asked: sparsity(options.targetSparsity), reachable: Double(most) / Double(whole))
        }
        for (index, count) in zip(ranked, joint) { counts[index] = count }
        return counts
    }

    /// The fewest and the most pieces that a target may have lost by now.
    private func limits(of ranking: Ranking, _ sparsity: (Double) -> Double) -> ClosedRange<Int> {
        let share = min(options.minPerLayer, sparsity(options.minPerLayer))
        let most = max(ranking.prunedCount, options.mostPruned(of: ranking.count))
        return min(most, max(ranking.prunedCount, Share.count(share, of: ranking.count)))...most
    }
}
