internal import Graph
internal import Kernels
internal import Tensor

/// The backward pass: one gradient after the other.
extension Lowering {
    /// Lowers the backward pass from the gradient of the graph's output on.
    mutating func backward(from seed: BufferID) throws(PlanError) {
        let pass = Gradients(of: graph)
        for case .backward(let id, _, _) in pass.steps {
            for parameter in graph[id].parameters where graph[parameter].isTrained {
                waitingNodes[parameter, default: 0] += 1
            }
        }
        for adapter in graph.features.compactMap(\.adapter) {
            for parameter in adapter.parameters { waitingNodes[parameter] = 1 }
        }
        gradients.set(pass.seed, seed)
        var totals: [Gradients.GradientID: Gradients.GradientID] = [:]
        for case .accumulate(let total, let contribution) in pass.steps { totals[contribution] = total }
        for step in pass.steps {
            switch step {
            case .compare(let place, let outgoing):
                let gradient = try compare(place, needsGradient: outgoing != nil)
                if let outgoing, let gradient { gradients.set(outgoing, gradient) }
            case .accumulate(let total, let contribution):
                // One after the other: what the first sum reads must not count as free for the second.
                guard let left = addedGradient(total, of: pass[total].of),
                    let right = addedGradient(contribution, of: pass[total].of)
                else { continue }
                _ = (gradients.take(total), gradients.take(contribution))
                gradients.set(total, sumOf: left, right)
            case .backward(let id, let incoming, let outgoing):
                try recompute(for: id)
                current = id
                guard let gradient = gradients.take(incoming) else { continue }
                // A norm adds what has reached its input elsewhere; that sum then is the input's gradient.
                var outgoing = outgoing
                var addend: BufferID?
                if options.fuses, normalisesRows(graph[id]), let contribution = outgoing[0],
                    let total = totals[contribution], let entry = gradients.take(total)
                {
                    addend = added(entry, of: graph[id].inputs[0])
                    outgoing[0] = total
                }
                let results = try backwardPass(
                    id, gradient, adding: addend, needs: outgoing.map { $0 != nil })
                for (target, result) in zip(outgoing, results) {
                    if let target, let result { gradients.set(target, result) }
                }
            }
        }
    }

    /// A gradient in one buffer, which stays in the table.
    private mutating func addedGradient(
        _ id: Gradients.GradientID, of value: Graph.ValueID
    ) -> BufferID? {
        guard let entry = gradients.take(id) else { return nil }
        let buffer = added(entry, of: value)
        gradients.set(id, buffer)
        return buffer
    }

    /// A gradient in one buffer: adds the two that have yet to be added.
    mutating func added(_ entry: GradientTable.Entry, of value: Graph.ValueID) -> BufferID {
        switch entry {
        case .single(let buffer): return buffer
        case .sum(let left, let right):
            let target =
                gradients.isFree(left)
                ? left : gradients.isFree(right) ? right : addBuffer("sum of gradients", like: value)
            emit(
                "sum of gradients", Elementwise.add(count: count(value), type: element(value)),
                [left, right, target])
            return target
        }
    }

    /// Lowers a node's backward pass; returns the gradient of each input that needs one.
    private mutating func backwardPass(
        _ id: Graph.NodeID, _ entry: GradientTable.Entry, adding addend: BufferID?, needs: [Bool]
    ) throws(PlanError) -> [BufferID?] {
        let node = graph[id]
        let gradient = added(entry, of: node.output)
        if let owner = normOwners[id] { return backwardAbsorbed(node, by: owner, gradient, needs: needs) }
        switch node.operation {
        case .convolution, .linear, .transposedConvolution:
            return [try backwardWeighted(node, gradient, needs[0])]
        case .activation(let kind): return [backwardActivation(node, kind, gradient)]
        case .dropout(let probability): return [backwardDropout(node, probability, gradient)]
        case .pooling(let pool): return [try backwardPooling(node, pool, gradient)]
        case .adaptiveAveragePooling: return [backwardAdaptivePooling(node, gradient)]
        case .batchNorm: return [try backwardBatchNorm(node, gradient, needs[0])]
        case .layerNorm(let epsilon):
            return [try backwardRowNorm(node, .layer, epsilon: epsilon, gradient, adding: addend)]
        case .rmsNorm(let epsilon):
            return [try backwardRowNorm(node, .rms, epsilon: epsilon, gradient, adding: addend)]
        case .groupNorm(let groups, let epsilon):
            return [try backwardGroupNorm(node, groups: groups, epsilon: epsilon, gradient)]
        case .view: return [gradient]
        case .permute(let axes): return [try backwardPermute(node, axes, gradient)]
        case .scale(let factor): return [backwardScale(node, factor, gradient)]
        case .add: return needs.map { $0 ? gradient : nil }
        case .multiply: return backwardMultiply(node, gradient, needs: needs)
        case .softmax: return [backwardSoftmax(node, gradient)]
        case .concat(let isInner): return backwardConcat(node, isInner: isInner, gradient, needs: needs)
        case .mean: return [backwardMean(node, gradient)]
        case .embedding:
            try backwardEmbedding(node, gradient)
            return [nil]
        case .lengths: return [nil]
        case .positions:
            try backwardPositions(node, gradient)
            return [gradient]
        case .prependToken: return [try backwardPrependToken(node, gradient, needs[0])]
        case .selectToken(let index): return [backwardSelectToken(node, index, gradient)]
        case .rotary(let heads, let base):
            return [try backwardRotary(node, heads: heads, base: base, gradient)]
        case .attention(let attention): return [backwardAttention(node, attention, gradient)]
        }
    }

    /// The gradient's own buffer where nobody else reads it, or a new one.
    mutating func replacing(_ gradient: BufferID, _ node: Graph.Node) -> BufferID {
        gradients.isFree(gradient) ? gradient : addBuffer("\(node.name) input gradient", like: node.inputs[0])
    }

}
