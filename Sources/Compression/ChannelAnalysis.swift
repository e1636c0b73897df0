internal import Graph
internal import Tensor

/// Which channels of a graph can only go together, and which cannot go.
///
/// Every learned layer's output channels start as units of their own; operations bind units together or pin
/// them. A value is labelled with units by the period with which they repeat in its memory: element `e`
/// belongs to `labels[e % labels.count]`. A view keeps its labels whatever it looks like.
struct ChannelAnalysis {
    /// The units along one axis of a parameter: index `i` belongs to `units[i / inner % units.count]`.
    struct AxisLabels {
        var units: [Int]
        /// Neighbours that belong together: the places of a channel, in the columns behind a flatten.
        var inner = 1
    }

    /// Output channels of a layer, along an axis of its weight.
    struct Filters {
        let layer: String
        let parameter: Graph.ParameterID
        let axis: Int
        let labels: [Int]
        /// Fewer channels than this cannot be described.
        var least = 1
    }

    /// A parameter's index among those that read channels.
    struct Axis: Hashable {
        let parameter: Graph.ParameterID
        let axis: Int
    }

    let graph: Graph
    /// Of each value.
    var labels: [[Int]]
    /// Of each axis whose extent may change.
    private(set) var axes: [Axis: AxisLabels] = [:]
    /// The axes among them along which channels are read.
    private(set) var readers: [(axis: Axis, node: Graph.NodeID)] = []
    private(set) var filters: [Filters] = []
    /// Scales of batch normalisations.
    private(set) var scales: [(layer: String, parameter: Graph.ParameterID, labels: [Int])] = []
    /// The units that are attention's heads.
    var heads: [Int] = []
    private var forest = DisjointSets()
    private var reasons: [Int: String] = [:]

    init(_ graph: Graph) {
        self.graph = graph
        labels = [[Int]](repeating: [], count: graph.values.count)
        labels[graph.input.index] = [pinned("the model's input")]
        for id in graph.nodeIDs { labels[graph[id].output.index] = follow(id) }
        pin(channels(graph.output), "the model's output")
    }

    // MARK: - Units

    /// The unit that stands for all that are bound to this one.
    func root(_ unit: Int) -> Int { forest.root(unit) }

    var unitCount: Int { forest.count }

    /// Why each unit that cannot go cannot, by root.
    var pins: [Int: String] {
        var pins: [Int: String] = [:]
        for (unit, reason) in reasons.sorted(by: { $0.key < $1.key }) where pins[root(unit)] == nil {
            pins[root(unit)] = reason
        }
        return pins
    }

    mutating func fresh(_ count: Int) -> [Int] { forest.add(count) }

    /// Units that cannot go become one: there is nothing to tell apart any more.
    mutating func pin(_ units: [Int], _ reason: String) {
        guard let first = units.first else { return }
        if reasons[first] == nil { reasons[first] = reason }
        for unit in units.dropFirst() { bind(unit, first) }
    }

    mutating func pinned(_ reason: String) -> Int {
        let unit = fresh(1)
        pin(unit, reason)
        return unit[0]
    }

    mutating func bind(_ left: Int, _ right: Int) { forest.join(left, right) }

    /// Binds labels of the same elements, and gives the shorter ones: they say it all then.
    mutating func bind(_ left: [Int], _ right: [Int], _ what: String) -> [Int] {
        let (short, long) = left.count <= right.count ? (left, right) : (right, left)
        guard long.count % short.count == 0 else {
            pin(left + right, what)
            return [pinned(what)]
        }
        for (index, unit) in long.enumerated() { bind(unit, short[index % short.count]) }
        return short
    }

    /// A value's labels with a period that divides `period`.
    mutating func labels(_ value: Graph.ValueID, period: Int) -> [Int] {
        let labels = labels[value.index]
        if period % labels.count == 0 { return labels }
        guard labels.count % period == 0 else {
            let reason = "a reshape that mixes channels with places"
            pin(labels, reason)
            return [pinned(reason)]
        }
        return bind(Array(labels[..<period]), labels, "")
    }

    /// The labels of a value's channels: what lies innermost.
    mutating func channels(_ value: Graph.ValueID) -> [Int] {
        labels(value, period: graph[value].channels)
    }

    // MARK: - Parameters

    /// Notes which units an axis of a parameter belongs to; one that is shared binds them.
    mutating func register(_ parameter: Graph.ParameterID, _ axis: Int, _ labels: AxisLabels) {
        let key = Axis(parameter: parameter, axis: axis)
        guard let known = axes[key] else { return axes[key] = labels }
        if known.inner == labels.inner {
            let units = bind(known.units, labels.units, "a weight shared by layers of other shapes")
            axes[key]?.units = units
        } else {
            let reason = "a weight shared by layers that read it in another order"
            pin(known.units + labels.units, reason)
            axes[key] = AxisLabels(units: [pinned(reason)])
        }
    }

    mutating func register(_ role: Graph.Parameter.Role, of node: Graph.Node, _ axis: Int, _ units: [Int]) {
        guard let parameter = graph.parameter(role, of: node) else { return }
        register(parameter, axis, AxisLabels(units: units))
    }

    /// Notes that a node reads channels along an axis of its weight.
    mutating func registerReader(_ id: Graph.NodeID, _ axis: Int, _ labels: AxisLabels) {
        guard let weight = graph.weight(of: graph[id]) else { return }
        register(weight, axis, labels)
        readers.append((Axis(parameter: weight, axis: axis), id))
    }

    mutating func registerFilters(_ node: Graph.Node, _ axis: Int, _ units: [Int], least: Int = 1) {
        guard let weight = graph.weight(of: node) else { return }
        register(weight, axis, AxisLabels(units: units))
        filters.append(
            Filters(layer: node.name, parameter: weight, axis: axis, labels: units, least: least))
    }

    mutating func registerScale(_ node: Graph.Node, _ units: [Int]) {
        guard let scale = graph.parameter(.scale, of: node) else { return }
        scales.append((node.name, scale, units))
    }
}

/// Sets that are joined, the smaller below the larger.
struct DisjointSets {
    private var parents: [Int] = []
    private var sizes: [Int] = []

    var count: Int { parents.count }

    /// Adds sets of one element each and gives their elements.
    mutating func add(_ count: Int) -> [Int] {
        let first = parents.count
        parents += first..<(first + count)
        sizes += [Int](repeating: 1, count: count)
        return Array(first..<(first + count))
    }

    func root(_ element: Int) -> Int {
        var element = element
        while parents[element] != element { element = parents[element] }
        return element
    }

    mutating func join(_ left: Int, _ right: Int) {
        var (large, small) = (root(left), root(right))
        guard large != small else { return }
        if sizes[large] < sizes[small] { swap(&large, &small) }
        parents[small] = large
        sizes[large] += sizes[small]
    }
}
