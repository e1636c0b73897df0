internal import Graph
internal import Kernels
internal import Tensor

/// Normalisation.
extension Lowering {
    mutating func forwardBatchNorm(_ node: Graph.Node, _ norm: Operation.BatchNorm) throws(PlanError) {
        let shape = shapes.batchNormalization(norm, node)
        let parameters = node.parameters.map { parameterBuffer($0) }
        let input = activation(node.inputs[0])
        let output = addOutput(of: node)
        guard mode.isTraining else {
            let primitive = try kernels { () throws(KernelError) in
                try BatchNormalization.inference(shape, on: engine)
            }
            emit("\(node.name) forward", primitive, [input] + parameters + [output])
            return
        }
        let primitive = try kernels { () throws(KernelError) in
            try BatchNormalization.training(shape, on: engine)
        }
        let mean = addBuffer("\(node.name) mean", floats: shape.channels)
        let variance = addBuffer("\(node.name) variance", floats: shape.channels)
        saved[current] = [mean, variance]
        emit(
            "\(node.name) forward", primitive, [input, parameters[0], parameters[1], mean, variance, output])
        guard mode.learns, !isRecomputing else { return }
        emit(
            "\(node.name) running statistics",
            BatchNormalization.runningStatistics(shape, momentum: Float(norm.momentum)),
            [mean, variance, parameters[2], parameters[3]])
    }

    mutating func backwardBatchNorm(
        _ node: Graph.Node, _ norm: Operation.BatchNorm, _ gradient: BufferID, _ needsInput: Bool
    ) throws(PlanError) -> BufferID? {
        guard let saved = saved[current], let scale = graph.parameter(.scale, of: node),
            let shift = graph.parameter(.shift, of: node)
        else { return nil }
        let shape = shapes.batchNormalization(norm, node)
        let primitive = try kernels { () throws(KernelError) in
            try BatchNormalization.backward(shape, on: engine)
        }
        let result = addBuffer("\(node.name) input gradient", like: node.inputs[0])
        let scaleGradient = addBuffer("\(graph[scale].name) gradient", floats: shape.channels)
        let shiftGradient = addBuffer("\(graph[shift].name) gradient", floats: shape.channels)
        emit(
            "\(node.name) backward", primitive,
            [activation(node.inputs[0])] + saved + [
                gradient, parameterBuffer(scale), parameterBuffer(shift), result, scaleGradient,
                shiftGradient,
            ])
        try finish(scale, scaleGradient, store[scale].layout)
        try finish(shift, shiftGradient, store[shift].layout)
        return needsInput ? result : nil
    }
}
