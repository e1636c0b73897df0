public import Graph
public import Kernels
public import Tensor

/// Where a graph's parameters and what training keeps beside them live, at the front of the arena.
///
/// The layouts are those that the training plan's forward primitives asked for, so that neither a step nor an
/// evaluation reorders them. Trained parameters lie in one region, at the same offsets as their gradients,
/// their averages and the optimiser's states in theirs, so that one pass can update them all. Every plan of
/// a job shares one store.
public struct ParameterStore {
    /// What can be kept of a parameter.
    public enum Part: Hashable, Sendable {
        case value
        /// A tensor of the optimiser's.
        case state(Int)
        /// The exponential moving average.
        case average
        /// What gradient times weight sum up to.
        case score
    }

    /// One parameter's place.
    public struct Entry {
        /// The layout in the arena, with padding.
        public let layout: TensorLayout
        /// PyTorch's order, in the extents that the kernels use.
        let plain: TensorLayout
        /// Set where the parameter's second extent is an image that was flattened: PyTorch flattens
        /// `[channels, height, width]`, activations lie as `[height, width, channels]`.
        public let flattened: ImageExtents?
        /// From the start of every region that it is in.
        let offset: Int
        public let value: Slot
        /// The same numbers as products in bfloat16 read them; follows every change of the value.
        let copy: (layout: TensorLayout, slot: Slot)?
        /// The same numbers as plans of some batch sizes like them better; they follow what is written.
        var others: [(layout: TensorLayout, batches: Set<Int>, slot: Slot)] = []

        /// The layout that a batch size's plan reads best.
        func layout(batch: Int) -> TensorLayout {
            others.first { $0.batches.contains(batch) }?.layout ?? layout
        }
    }

    /// What beside the parameters' values has to be kept.
    struct Needs {
        var stateCount = 0
        var keepsGradients = false
        var hasAverage = false
        var hasMasks = false
        var hasScores = false
        /// Values whose ranges are kept.
        var ranges: [Graph.ValueID] = []

        init() {}

        init(_ optimizer: OptimizerOptions) {
            stateCount = optimizer.rule.stateNames.count
            keepsGradients = optimizer.keepsGradients
            hasAverage = optimizer.averageDecay != nil
            (hasMasks, hasScores) = (optimizer.isMasked, optimizer.gathersScores)
        }
    }

    public let graph: Graph
    /// Parameters that nothing is kept of.
    private let absent: Set<Graph.ParameterID>
    public private(set) var entries: [Entry] = []
    /// `StepState`.
    public let state: Slot
    /// `LossResult`.
    public let result: Slot
    /// `GradientNorm`.
    public let norm: Slot
    /// The trained parameters, and regions of the same size; that of the averages holds the others too.
    let values: Slot
    let states: [Slot]
    let gradients: Slot?
    let averages: Slot?
    let scores: Slot?
    /// One byte for each trained number: 1 for what stays, 0 for what is held at zero.
    let masks: Slot?
    /// Where the ranges of activations lie that are rounded.
    public let ranges: [Graph.ValueID: Slot]
    /// Bytes at the front of the arena.
    public private(set) var byteCount: Int

    /// Places every parameter: `layouts` has one for each of the graph's.
    init(
        graph: Graph, layouts: [ParameterLayout], needs: Needs,
        leavingOut absent: Set<Graph.ParameterID> = []
    ) throws(PlanError) {
        (self.graph, self.absent) = (graph, absent)
        state = Slot(offset: 0, byteCount: Arena.alignment)
        result = Slot(offset: Arena.alignment, byteCount: Arena.alignment)
        norm = Slot(offset: 2 * Arena.alignment, byteCount: Arena.alignment)
        let start = 3 * Arena.alignment
        var offsets = [Int](repeating: 0, count: layouts.count)
        var end = 0
        let byteCounts = zip(graph.parameterIDs, layouts).map { id, layout in
            absent.contains(id) ? 0 : layout.stored.byteCount
        }
        for index in layouts.indices where graph.parameters[index].isTrained {
            offsets[index] = end
            end = try Self.advance(end, by: byteCounts[index])
        }
        let trained = end
        for index in layouts.indices where !graph.parameters[index].isTrained {
            offsets[index] = end
            end = try Self.advance(end, by: byteCounts[index])
        }
        values = Slot(offset: start, byteCount: trained)
        var behind = try Self.advance(start, by: end)
        func region(_ byteCount: Int) throws(PlanError) -> Slot {
            let slot = Slot(offset: behind, byteCount: byteCount)
            behind = try Self.advance(behind, by: byteCount)
            return slot
        }
        for (index, layout) in layouts.enumerated() {
            let offset = offsets[index]
            var copy: (TensorLayout, Slot)?
            if let layout = layout.copy { copy = (layout, try region(layout.byteCount)) }
            var entry = Entry(
                layout: layout.stored, plain: layout.plain, flattened: layout.flattened, offset: offset,
                value: Slot(offset: start + offset, byteCount: byteCounts[index]), copy: copy)
            for other in layout.others {
                entry.others.append((other.layout, other.batches, try region(other.layout.byteCount)))
            }
            entries.append(entry)
        }
        var states: [Slot] = []
        for _ in 0..<needs.stateCount { states.append(try region(trained)) }
        self.states = states
        gradients = needs.keepsGradients ? try region(trained) : nil
        // Running statistics are averaged too.
        averages = needs.hasAverage ? try region(end) : nil
        scores = needs.hasScores ? try region(trained) : nil
        masks = needs.hasMasks ? try region(trained / MemoryLayout<Float>.stride) : nil
        var ranges: [Graph.ValueID: Slot] = [:]
        for value in needs.ranges { ranges[value] = try region(Rounding.rangeByteCount) }
        self.ranges = ranges
        byteCount = behind
    }

    private static func advance(_ offset: Int, by byteCount: Int) throws(PlanError) -> Int {
        let (sum, overflow) = offset.addingReportingOverflow(try MemoryPlanner.aligned(byteCount))
        guard !overflow else { throw .tooLarge }
        return sum
    }

    public subscript(id: Graph.ParameterID) -> Entry { entries[id.index] }

    /// Everything that is kept of a parameter, or of some.
    public var parts: [Part] {
        [.value] + states.indices.map { .state($0) } + (averages == nil ? [] : [.average])
            + (scores == nil ? [] : [.score])
    }

    /// Where a part of a parameter lies; nil when it is not kept.
    public func slot(_ id: Graph.ParameterID, _ part: Part) -> Slot? {
        if absent.contains(id) { return nil }
        switch part {
        case .value: return self[id].value
        case .average: return averages.map { place(id, in: $0) }
        case .score: return graph[id].isTrained ? scores.map { place(id, in: $0) } : nil
        case .state(let index):
            guard graph[id].isTrained, states.indices.contains(index) else { return nil }
            return place(id, in: states[index])
        }
    }

    /// Where the summed gradient of a parameter lies; nil when gradients are not kept.
    func gradientSlot(_ id: Graph.ParameterID) -> Slot? {
        graph[id].isTrained ? gradients.map { place(id, in: $0) } : nil
    }

    /// Where the mask of a parameter lies, in the parameter's own layout; nil when there is none.
    func maskSlot(_ id: Graph.ParameterID) -> Slot? {
        guard let masks, graph[id].isTrained else { return nil }
        let width = MemoryLayout<Float>.stride
        return Slot(
            offset: masks.offset + self[id].offset / width, byteCount: self[id].layout.byteCount / width)
    }

    private func place(_ id: Graph.ParameterID, in region: Slot) -> Slot {
        Slot(offset: region.offset + self[id].offset, byteCount: self[id].layout.byteCount)
    }
}

/// How a parameter lies.
struct ParameterLayout {
    /// As the kernels take it.
    var stored: TensorLayout
    /// As PyTorch has it, in the extents that the kernels use.
    var plain: TensorLayout
    /// As products in bfloat16 take it, where a copy is kept.
    var copy: TensorLayout?
    /// As plans of some batch sizes like it better.
    var others: [(layout: TensorLayout, batches: Set<Int>)] = []
    /// Where its second extent is a flattened image.
    var flattened: ImageExtents?
}
