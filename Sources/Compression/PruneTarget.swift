public import Graph
public import JSON
internal import Tensor

/// One parameter that is pruned weight by weight or tile by tile.
public struct PruneTarget: Sendable, Hashable {
    /// The layer's name: `conv1`, `block2.mlp.fc1`.
    public let layer: String
    public let parameter: Graph.ParameterID
    /// Its pieces.
    let pieces: Pieces
    /// The sparsity of this layer alone, where it has one of its own.
    public let ownSparsity: Double?

    /// Weights, tiles or groups of them.
    public var pieceCount: Int { pieces.count }
}

/// The layers of a graph as a pruning names them.
struct LayerNames {
    /// Layers with a weight of their own, in the graph's order.
    let known: [String]
    /// Those behind which nothing is learned but norms.
    let outputs: Set<String>

    /// Those whose weights are pruned one by one, or those whose channels are: tables too.
    init(_ graph: Graph, channels groups: [ChannelGroups.Group]? = nil) {
        known =
            groups.map { $0.flatMap(\.layers) }
            ?? graph.nodes.filter { graph.prunableWeight(of: $0) != nil }.map(\.name)
        var (outputs, waiting, seen) = (Set<String>(), [graph.output], Set<Graph.ValueID>())
        while let value = waiting.popLast() {
            guard seen.insert(value).inserted, let node = graph.producer(of: value) else { continue }
            if graph.weight(of: node) == nil {
                waiting += node.inputs
            } else {
                outputs.insert(node.name)
            }
        }
        self.outputs = outputs
    }

    /// The layers that `exclude` leaves alone; a name that no layer has is a violation.
    func excluded(by options: PruneOptions, at pointer: String, _ log: ViolationLog) -> Set<String> {
        var excluded: Set<String> = []
        let place = JSONPointer.member("exclude", of: pointer)
        for (index, text) in options.exclude.enumerated() {
            if text == PruneOptions.outputName, !known.contains(text) {
                excluded.formUnion(outputs)
                continue
            }
            let pattern = NamePattern(text)
            // A layer that is made of others stands for all of them.
            let inside = NamePattern(text + ".*")
            let found = known.filter { pattern.matches($0) || inside.matches($0) }
            excluded.formUnion(found)
            guard found.isEmpty, !outputs.contains(where: pattern.matches) else { continue }
            complain(of: text, at: JSONPointer.element(index, of: place), log)
        }
        return excluded
    }

    /// Checks the names of `per_layer`.
    func checkPerLayer(
        _ options: PruneOptions, excluded: Set<String>, at pointer: String, _ log: ViolationLog
    ) {
        let place = JSONPointer.member("per_layer", of: pointer)
        for name in options.perLayer.keys.sorted() {
            let at = JSONPointer.member(name, of: place)
            if !known.contains(name) {
                complain(of: name, at: at, log)
            } else if excluded.contains(name) {
                let what = outputs.contains(name) ? "makes the model's output and " : ""
                log.add(
                    at, "invalid_value",
                    "\"\(name)\" \(what)is excluded; take it out of \"exclude\" to prune it")
            }
        }
    }

    private func complain(of name: String, at pointer: String, _ log: ViolationLog) {
        log.add(
            pointer, "unknown_layer",
            Spelling.complaint(unknown: "layer", name, among: Array(known.prefix(64))))
    }
}

extension Graph {
    /// The weight of a convolution or product, unless it is a table that tokens pick rows from.
    func prunableWeight(of node: Node) -> ParameterID? {
        switch node.operation {
        case .convolution, .transposedConvolution, .linear: parameter(.weight, of: node)
        default: nil
        }
    }
}

extension PruneOptions {
    /// The parameters that are pruned, unless whole channels are.
    ///
    /// - Parameters:
    ///   - graph: The model.
    ///   - pointer: Where `prune` stands in the document.
    /// - Returns: The targets in the graph's order, each weight once.
    /// - Throws: Every violation: unknown or excluded names, n:m where m does not divide the inputs, a target
    ///   that empties a layer or that the layers' limits do not allow.
    public func targets(in graph: Graph, at pointer: String) throws(InvalidInput) -> [PruneTarget] {
        let log = ViolationLog()
        let names = LayerNames(graph)
        let excluded = names.excluded(by: self, at: pointer, log)
        names.checkPerLayer(self, excluded: excluded, at: pointer, log)
        var targets: [PruneTarget] = []
        for node in graph.nodes {
            guard let weight = graph.prunableWeight(of: node) else { continue }
            let sharing = graph.nodes.filter { $0.parameters.contains(weight) }
            guard sharing.first?.name == node.name, !sharing.contains(where: { excluded.contains($0.name) })
            else { continue }
            let own = sharing.lazy.compactMap { perLayer[$0.name] }.first
            guard let pieces = pieces(of: graph[weight], node, at: pointer, log) else { continue }
            targets.append(
                PruneTarget(layer: node.name, parameter: weight, pieces: pieces, ownSparsity: own))
            guard includesBias, let bias = graph.parameter(.bias, of: node) else { continue }
            targets.append(
                PruneTarget(
                    layer: node.name, parameter: bias,
                    pieces: Pieces(elements: graph[bias].shape.elementCount),
                    ownSparsity: own))
        }
        if targets.isEmpty, log.isEmpty {
            log.add(pointer, "invalid_value", "nothing is left to prune: every layer is excluded")
        }
        for target in targets { checkLimits(of: target, at: pointer, log) }
        checkTotal(targets, at: pointer, log)
        try log.throwIfAny()
        return targets
    }

    private func pieces(
        of weight: Graph.Parameter, _ node: Graph.Node, at pointer: String, _ log: ViolationLog
    ) -> Pieces? {
        guard weight.shape.elementCount <= Ranking.countMax else {
            log.add(
                pointer, "too_large", "\(node.name) has \(weight.shape.elementCount) weights, more than 2^32")
            return nil
        }
        var isTransposed = false
        if case .transposedConvolution = node.operation { isTransposed = true }
        switch structure {
        case .unstructured, .channel: return Pieces(elements: weight.shape.elementCount)
        case .block:
            return Pieces(
                tiles: blockRows, blockColumns, outputs: weight.shape[0],
                inputs: weight.shape.elementCount / weight.shape[0])
        case .ofEvery:
            let inputs = weight.shape[isTransposed ? 0 : 1]
            guard inputs % groupSize == 0 else {
                log.add(
                    JSONPointer.member("m", of: pointer), "shape_mismatch",
                    "m = \(groupSize) does not divide the \(inputs) inputs of \(node.name); exclude it, or "
                        + "choose another m")
                return nil
            }
            return Pieces(
                groups: groupSize, kept: keptOfGroup, shape: weight.shape.dimensions,
                inputAxis: isTransposed ? 0 : 1)
        }
    }

    private func checkLimits(of target: PruneTarget, at pointer: String, _ log: ViolationLog) {
        guard structure != .ofEvery else { return }
        let asked = target.ownSparsity ?? (scope == .layer ? targetSparsity : nil)
        guard let asked else { return }
        let place =
            target.ownSparsity == nil
            ? JSONPointer.member("target_sparsity", of: pointer)
            : JSONPointer.member(target.layer, of: JSONPointer.member("per_layer", of: pointer))
        if target.ownSparsity != nil, asked > maxPerLayer || asked < minPerLayer {
            log.add(
                place, "out_of_range",
                "\(target.layer) may lose from \(minPerLayer) to \(maxPerLayer) of it, found \(asked)"
            )
        } else if min(
            Share.count(asked, of: target.pieceCount), Share.countMax(maxPerLayer, of: target.pieceCount))
            >= target.pieceCount
        {
            log.add(
                place, "out_of_range",
                "\(asked) leaves none of the \(target.pieceCount) \(structure.piece) of \(target.layer)")
        }
    }

    /// A global target that the layers' limits do not allow.
    private func checkTotal(_ targets: [PruneTarget], at pointer: String, _ log: ViolationLog) {
        let ranked = targets.filter { $0.ownSparsity == nil }
        let whole = ranked.reduce(0) { $0 + $1.pieceCount }
        guard structure != .ofEvery, scope == .global, whole > 0, log.isEmpty else { return }
        let most = ranked.reduce(0) { $0 + mostPruned(of: $1.pieceCount) }
        let least = ranked.reduce(0) {
            $0 + min(leastPruned(of: $1.pieceCount), mostPruned(of: $1.pieceCount))
        }
        let asked = Share.count(targetSparsity, of: whole)
        guard asked > most || asked < least else { return }
        log.add(
            JSONPointer.member("target_sparsity", of: pointer), "out_of_range",
            "\(targetSparsity) are \(asked) of \(whole) \(structure.piece); the layers' limits allow from "
                + "\(least) to \(most)")
    }

    /// The most pieces that a layer may lose: what `max_per_layer` allows, and never the last one.
    func mostPruned(of count: Int) -> Int { min(Share.countMax(maxPerLayer, of: count), count - 1) }

    /// The fewest pieces that a layer loses in the end.
    func leastPruned(of count: Int) -> Int { Share.count(minPerLayer, of: count) }
}

extension PruneOptions.Structure {
    /// What goes as one, in the plural.
    var piece: String {
        switch self {
        case .unstructured: "weights"
        case .block: "tiles"
        case .ofEvery: "groups"
        case .channel: "channels"
        }
    }
}
