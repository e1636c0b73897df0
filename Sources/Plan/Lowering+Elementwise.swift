internal import Graph
internal import Kernels
internal import Tensor

/// Activations, dropout, sums and products.
extension Lowering {
    mutating func forwardActivation(_ node: Graph.Node, _ kind: Operation.Activation) {
        let input = activation(node.inputs[0])
        if keepsDerivative(node, kind) {
            derivatives.insert(current)
            let kernel = Activation.forwardWithDerivative(
                kind.kernelKind, count: count(node.output), type: element(node.output))
            return emit("\(node.name) forward", kernel, [input, addOutput(of: node), input])
        }
        derivatives.remove(current)
        let output = outputInPlace(of: node)
        let kernel = Activation.forward(
            kind.kernelKind, count: count(node.output), type: element(node.output))
        emit("\(node.name) forward", kernel, [input, output])
    }

    /// Whether the activation's derivative takes its input's place, which costs little beside the output and
    /// makes the backward pass a product: where nobody else reads the input any more.
    private func keepsDerivative(_ node: Graph.Node, _ kind: Operation.Activation) -> Bool {
        let input = node.inputs[0], buffer = activation(input)
        guard options.fuses, mode.isTraining, Activation.sharesDerivative(kind.kernelKind),
            soleReader(of: input) == current, tenants[buffer] == [input], !checkpoints.contains(buffer),
            case .transient = buffers[buffer.index].home, let maker = graph.producer(of: input)
        else { return false }
        return !maker.operation.backwardReads.contains(.output)
    }

    mutating func backwardActivation(
        _ node: Graph.Node, _ kind: Operation.Activation, _ gradient: BufferID
    ) -> BufferID {
        let target = replacing(gradient, node)
        if derivatives.contains(current) {
            let product = Broadcast.multiply(count: count(node.output), element: element(node.output))
            emit("\(node.name) backward", product, [activation(node.inputs[0]), gradient, target])
            return target
        }
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

    mutating func forwardScale(_ node: Graph.Node, _ factor: Double) {
        let input = activation(node.inputs[0])
        emit("\(node.name) forward", scale(node, factor), [input, outputInPlace(of: node)])
    }

    mutating func backwardScale(
        _ node: Graph.Node, _ factor: Double, _ gradient: BufferID
    ) -> BufferID {
        let target = replacing(gradient, node)
        emit("\(node.name) backward", scale(node, factor), [gradient, target])
        return target
    }

    private func scale(_ node: Graph.Node, _ factor: Double) -> any PreparedKernel {
        Elementwise.scale(count: count(node.output), by: Float(factor), type: element(node.output))
    }

    mutating func forwardAdd(_ node: Graph.Node) {
        let (left, right) = (activation(node.inputs[0]), activation(node.inputs[1]))
        let target = inPlace(node, node.inputs[0]) ?? inPlace(node, node.inputs[1])
        let output = target ?? addBuffer("\(node.name) output", like: node.output)
        place(node.output, in: output)
        if let norm = normBehind(node) { return forwardSummedNorm(norm, of: node, left, right, output) }
        let kernel = Elementwise.add(count: count(node.output), type: element(node.output))
        emit("\(node.name) forward", kernel, [left, right, output])
    }

    mutating func forwardMultiply(_ node: Graph.Node) {
        let operands = [activation(node.inputs[0]), activation(node.inputs[1]), addOutput(of: node)]
        let type = element(node.output)
        let output = graph[node.output]
        let kernel =
            isScaling(node)
            ? Broadcast.scaleChannels(
                batch: batch, area: output.positions, channels: output.channels, element: type)
            : Broadcast.multiply(count: count(node.output), element: type)
        emit("\(node.name) forward", kernel, operands)
    }

    mutating func backwardMultiply(
        _ node: Graph.Node, _ gradient: BufferID, needs: [Bool]
    ) -> [BufferID?] {
        let type = element(node.output)
        let output = graph[node.output]
        let kernel =
            isScaling(node)
            ? Broadcast.scaleChannelsBackward(
                batch: batch, area: output.positions, channels: output.channels, element: type)
            : Broadcast.multiplyBackward(count: count(node.output), element: type)
        let left = replacing(gradient, node)
        let right = addBuffer("\(node.name) factor gradient", like: node.inputs[1])
        emit(
            "\(node.name) backward", kernel,
            [activation(node.inputs[0]), activation(node.inputs[1]), gradient, left, right])
        return [needs[0] ? left : nil, needs[1] ? right : nil]
    }

    /// Whether the second input is one factor for each channel.
    private func isScaling(_ node: Graph.Node) -> Bool {
        graph[node.inputs[1]].shape.elementCount != graph[node.inputs[0]].shape.elementCount
            || graph[node.inputs[1]].positions != graph[node.inputs[0]].positions
    }

    mutating func forwardSoftmax(_ node: Graph.Node) {
        let output = graph[node.output]
        let kernel = Softmax.forward(
            rows: batch * output.positions, width: output.channels, element: element(node.output))
        let input = activation(node.inputs[0])
        emit("\(node.name) forward", kernel, [input, outputInPlace(of: node)])
    }

    mutating func backwardSoftmax(_ node: Graph.Node, _ gradient: BufferID) -> BufferID {
        let output = graph[node.output]
        let kernel = Softmax.backward(
            rows: batch * output.positions, width: output.channels, element: element(node.output))
        let target = replacing(gradient, node)
        emit("\(node.name) backward", kernel, [activation(node.output), gradient, target])
        return target
    }

    /// The output's buffer: the input's where that may be written over.
    mutating func outputInPlace(of node: Graph.Node) -> BufferID {
        guard let buffer = inPlace(node, node.inputs[0]) else { return addOutput(of: node) }
        place(node.output, in: buffer)
        return buffer
    }
}
