internal import Graph
internal import Tensor

/// What the channels of a group are worth.
struct ChannelImportance {
    let groups: ChannelGroups
    let options: PruneOptions
    let seed: UInt64
    let numbers: [Graph.ParameterID: [Float]]

    /// A score for each unit of a group: the lower, the sooner it goes; nil where the criterion says nothing.
    ///
    /// The norms of a unit's filters are summed over the layers of the group; those of a head over its rows
    /// of queries, keys and values, their biases, and the columns that read it. Sizes are divided by their
    /// mean over the group before they are compared with other groups'; what is made of gradients is
    /// comparable as it is.
    func scores(of group: ChannelGroups.Group) throws(CompressionError) -> [Float]? {
        let index = Dictionary(
            zip(group.units, group.units.indices), uniquingKeysWith: { first, _ in first })
        var scores: [Double]
        switch options.criterion {
        case .random:
            return Scoring.random(group.units.count, seed: seed, name: group.layers.first ?? "")
        case .bnScale:
            guard let found = try scaleScores(index, count: group.units.count) else { return nil }
            scores = found
        case .magnitude, .snip, .taylor, .movement:
            scores = try filterScores(group, index)
        }
        let isSize = options.criterion == .magnitude || options.criterion == .bnScale
        if isSize, options.scope == .global {
            let mean = scores.reduce(0, +) / Double(max(scores.count, 1))
            if mean > 0 { scores = scores.map { $0 / mean } }
        }
        return scores.map { Float($0) }
    }

    private func filterScores(
        _ group: ChannelGroups.Group, _ index: [Int: Int]
    ) throws(CompressionError) -> [Double] {
        var scores = [Double](repeating: 0, count: group.units.count)
        for axis in group.isOfHeads ? belongings(of: index) : filters(of: group) {
            for (place, score) in try self.scores(of: axis, index) { scores[place] += score }
        }
        return options.criterion == .taylor ? scores.map { abs($0) } : scores
    }

    /// The weights of a group's layers, each once.
    private func filters(of group: ChannelGroups.Group) -> [ChannelAnalysis.Axis] {
        let layers = Set(group.layers)
        var seen: Set<Graph.ParameterID> = []
        let own = groups.analysis.filters.filter { filters in
            layers.contains(filters.layer) && seen.insert(filters.parameter).inserted
        }
        return own.map { ChannelAnalysis.Axis(parameter: $0.parameter, axis: $0.axis) }
    }

    /// All that goes with some of a group's units: what is removed of a head is the head.
    private func belongings(of index: [Int: Int]) -> [ChannelAnalysis.Axis] {
        groups.analysis.axes.filter { axis, labels in
            groups.graph[axis.parameter].role.isLearned
                && labels.units.contains { index[groups.roots[$0]] != nil }
        }.keys.sorted { ($0.parameter.index, $0.axis) < ($1.parameter.index, $1.axis) }
    }

    /// What the places along an axis of a parameter add to the units that they belong to.
    private func scores(
        of axis: ChannelAnalysis.Axis, _ index: [Int: Int]
    ) throws(CompressionError) -> [(place: Int, score: Double)] {
        guard let labels = groups.analysis.axes[axis] else { return [] }
        let shape = groups.graph[axis.parameter].shape
        let values = try numbers(of: axis.parameter)
        let scoring = Scoring(options)
        let extent = shape[axis.axis]
        let inner = shape.dimensions[(axis.axis + 1)...].reduce(1, *)
        var sums = [Double](repeating: 0, count: extent)
        // Row by row of the axes outside this one.
        for row in 0..<(values.count / inner) {
            for element in (row * inner)..<((row + 1) * inner) {
                sums[row % extent] += scoring.term(values[element])
            }
        }
        let isEuclidean = options.criterion == .magnitude && options.norm == .l2
        return sums.enumerated().compactMap { channel, sum in
            let unit = groups.roots[labels.units[channel / labels.inner % labels.units.count]]
            return index[unit].map { ($0, isEuclidean ? sum.squareRoot() : sum) }
        }
    }

    /// The mean size of a unit's batch normalisation factors; nil where no layer of the group has one.
    private func scaleScores(_ index: [Int: Int], count: Int) throws(CompressionError) -> [Double]? {
        var (sums, counts) = ([Double](repeating: 0, count: count), [Int](repeating: 0, count: count))
        for scale in groups.analysis.scales {
            let units = scale.labels.map { groups.roots[$0] }
            guard units.contains(where: { index[$0] != nil }) else { continue }
            for (channel, value) in try numbers(of: scale.parameter).enumerated() {
                guard let place = index[units[channel % units.count]] else { continue }
                sums[place] += Double(abs(value))
                counts[place] += 1
            }
        }
        guard !counts.contains(0) else { return nil }
        return zip(sums, counts).map { $0 / Double($1) }
    }

    private func numbers(of parameter: Graph.ParameterID) throws(CompressionError) -> [Float] {
        let found = numbers[parameter] ?? []
        let count = groups.graph[parameter].shape.elementCount
        guard found.count == count else {
            throw .wrongCount(
                parameter: groups.graph[parameter].name, expected: count, found: found.count)
        }
        return found
    }
}
