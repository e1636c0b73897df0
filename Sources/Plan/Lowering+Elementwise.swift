internal import Graph
internal import Kernels
internal import Tensor

/// Activations, dropout, sums and products.
extension Lowering {
    mutating func forwardActivation(_ node: Graph.Node, _ kind: Operation.Activation) {
        let input = activation(node.inputs[0])
        let output = outputInPlace(of: node)
        let kernel = Activation.forward(
            kind.kernelKind, count: count(node.output), type: element(node.output))
        emit("\(node.name) forward", kernel, [input, output])
    }

    mutating func backwardActivation(
        _ node: Graph.Node, _ kind: Operation.Activation, _ gradient: BufferID
    ) -> BufferID {
        let target = replacing(gradient, node)
        let kernel = Activation.backward(
            kind.kernelKind, count: count(node.output), type: element(node.output))
        let saved = kind.kernelKind.backwardReads == .output ? node.output : node.inputs[0]
        emit("\(node.name) backward", kernel, [activation(saved), gradient, target])
        return target
    }

    mutating func forwardDropout(_ node: Graph.Node, _ probability: Double) {
        let input = activation(node.inputs[0])
        guard mode.isTraining, probability > 0 else {
            place(node.output, in: input)
            return
        }
        let output = outputInPlace(of: node)
        emit("\(node.name) forward", dropout(node, probability), [state, input, output])
    }

    mutating func backwardDropout(
        _ node: Graph.Node, _ probability: Double, _ gradient: BufferID
    ) -> BufferID {
        guard probability > 0 else { return gradient }
        let target = replacing(gradient, node)
        emit("\(node.name) backward", dropout(node, probability), [state, gradient, target])
        return target
    }

    /// Keyed by the node, so that the mask is the same whenever it is drawn again.
    private func dropout(_ node: Graph.Node, _ probability: Double) -> any PreparedKernel {
        Elementwise.dropout(
            count: count(node.output), probability: Float(probability),
            layer: UInt32(truncatingIfNeeded: current.index), purpose: RandomPurpose.dropout.rawValue,
            type: element(node.output))
    }

    mutating func forwardAdd(_ node: Graph.Node) {
        let (left, right) = (activation(node.inputs[0]), activation(node.inputs[1]))
        let target = inPlace(node, node.inputs[0]) ?? inPlace(node, node.inputs[1])
        let output = target ?? addBuffer("\(node.name) output", like: node.output)
        place(node.output, in: output)
        let kernel = Elementwise.add(count: count(node.output), type: element(node.output))
        emit("\(node.name) forward", kernel, [left, right, output])
    }

    /// The output's buffer: the input's where that may be written over.
    mutating func outputInPlace(of node: Graph.Node) -> BufferID {
        guard let buffer = inPlace(node, node.inputs[0]) else { return addOutput(of: node) }
        place(node.output, in: buffer)
        return buffer
    }
}
