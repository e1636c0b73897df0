internal import Graph
internal import Kernels
internal import Tensor

/// Pooling.
extension Lowering {
    mutating func forwardPooling(_ node: Graph.Node, _ pool: Operation.Pooling) throws(PlanError) {
        let primitive = try kernels { () throws(KernelError) in
            try Pooling.forward(
                shapes.pooling(pool, node), pool.kind.kernelKind, element: options.precision,
                training: mode.isTraining, on: engine)
        }
        let output = addOutput(of: node)
        var operands = [activation(node.inputs[0]), output]
        let fixed = primitive.operands.count - (primitive.scratchpad == nil ? 0 : 1)
        if fixed == 3 {
            let winners = addBuffer("\(node.name) winners")
            operands.append(winners)
            saved[current] = [winners]
        }
        emit("\(node.name) forward", primitive, operands)
    }

    mutating func backwardPooling(
        _ node: Graph.Node, _ pool: Operation.Pooling, _ gradient: BufferID
    ) throws(PlanError) -> BufferID {
        let primitive = try kernels { () throws(KernelError) in
            try Pooling.backward(
                shapes.pooling(pool, node), pool.kind.kernelKind, element: options.precision, on: engine)
        }
        let result = addBuffer("\(node.name) input gradient", like: node.inputs[0])
        emit("\(node.name) backward", primitive, [gradient] + (saved[current] ?? []) + [result])
        return result
    }

    mutating func forwardAdaptivePooling(_ node: Graph.Node) {
        let kernel = AdaptivePooling.average(shapes.adaptivePooling(node), element: options.precision)
        emit("\(node.name) forward", kernel, [activation(node.inputs[0]), addOutput(of: node)])
    }

    mutating func backwardAdaptivePooling(_ node: Graph.Node, _ gradient: BufferID) -> BufferID {
        let kernel = AdaptivePooling.averageBackward(shapes.adaptivePooling(node), element: options.precision)
        let result = addBuffer("\(node.name) input gradient", like: node.inputs[0])
        emit("\(node.name) backward", kernel, [gradient, result])
        return result
    }
}

extension Operation.Pooling.Kind {
    var kernelKind: PoolingKind {
        switch self {
        case .maximum: .maximum
        case .average(let countsPadding): .average(countsPadding: countsPadding)
        }
    }
}
