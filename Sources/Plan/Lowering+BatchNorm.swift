internal import Graph
internal import Kernels
internal import Tensor

/// A batch normalisation and what runs in the same pass.
struct NormFusion {
    var kernel: FusedBatchNorm
    /// The addition behind it, and what that adds.
    var addition: (node: Graph.NodeID, residual: Graph.ValueID)?
    var activation: Graph.NodeID?
    /// What comes out of all of it.
    var output: Graph.ValueID
    /// Where the backward pass puts the residual's gradient.
    var residualGradient: BufferID?
}

/// A batch normalisation that its reader computes.
struct DeferredNorm {
    let activation: FusedBatchNorm.Activation
    /// What the reader needs besides the input.
    let coefficients: BufferID
    /// Whose output it is, for people.
    let name: String
}

/// Batch normalisation, with the residual and the activation behind it.
extension Lowering {
    mutating func forwardBatchNorm(_ node: Graph.Node, _ norm: Operation.BatchNorm) {
        let fusion = fusion(behind: node, norm)
        absorbed.formUnion([fusion.addition?.node, fusion.activation].compactMap(\.self))
        normFusions[current] = fusion
        for id in [fusion.addition?.node, fusion.activation].compactMap(\.self) { normOwners[id] = current }
        if isNormalizedByReader(fusion) { return deferBatchNorm(node, norm, fusion) }
        let input = activation(node.inputs[0])
        let parameters = node.parameters.map { parameterBuffer($0) }
        let residual = fusion.addition.map { [activation($0.residual)] } ?? []
        let place = fusion.addition.flatMap { inPlace(node, $0.residual) }
        let output = place ?? addBuffer("\(node.name) output", like: fusion.output)
        self.place(fusion.output, in: output)
        let label = label(of: fusion, node)
        if mode.isTraining {
            let statistics = addBuffer("\(node.name) statistics", floats: fusion.kernel.savedCount)
            saved[current] = [statistics]
            let operands =
                [input, parameters[0], parameters[1]] + residual
                + [output, statistics, parameters[2], parameters[3], addBuffer("\(node.name) scratch")]
            emit("\(label) forward", fusion.kernel.training(momentum: momentum(norm)), operands)
            if isMadeAgain(fusion) { repeatedNorms[fusion.output] = current }
        } else {
            let operands =
                [input, parameters[0], parameters[1]] + residual + [output, parameters[2], parameters[3]]
            emit("\(label) forward", fusion.kernel.inference(), operands)
        }
    }

    /// Repeated or only looked at, the pass must leave the running statistics as they are.
    private func momentum(_ norm: Operation.BatchNorm) -> Float {
        mode.learns && !isRecomputing ? Float(norm.momentum) : 0
    }

    private func label(of fusion: NormFusion, _ node: Graph.Node) -> String {
        let behind = [fusion.addition?.node, fusion.activation].compactMap { $0.map { graph[$0].name } }
        return ([node.name] + behind).joined(separator: " + ")
    }

    /// Whether what comes out is read by one of our depthwise convolutions alone, which can make it as it
    /// reads.
    ///
    /// Where a repeated forward pass starts from it, it has to be there.
    private func isNormalizedByReader(_ fusion: NormFusion) -> Bool {
        guard options.fuses, mode.isTraining, fusion.kernel.isNormalizedByReaders,
            let reader = soleReader(of: fusion.output),
            case .convolution(let window) = graph[reader].operation,
            segments.ranges.contains(where: { $0.contains(current.index) && $0.contains(reader.index) })
        else { return false }
        return Convolution.normalizes(
            shapes.convolution(window, graph[reader]), fusing: postOperations(behind: graph[reader]))
    }

    /// Multiply-accumulates for each element of a normalisation's output that pay for making it twice.
    ///
    /// Making 2 million takes 0.8 ms on two cores that multiply 250 thousand million numbers a second: 3 % of
    /// a 3x3 convolution to 128 channels, 11 % of one with a stride of 2.
    private static let macsPerElementMin = 256

    /// Whether what comes out is large, and read by a convolution alone whose weight gradient takes far
    /// longer than making it again.
    private func isMadeAgain(_ fusion: NormFusion) -> Bool {
        let byteCount = count(fusion.output) * element(fusion.output).byteCount
        guard options.fuses, byteCount > options.normByteCountMax, !fusion.kernel.addsResidual,
            segments.ranges.count == 1, let reader = soleReader(of: fusion.output),
            case .convolution = graph[reader].operation
        else { return false }
        return graph[reader].macs >= Self.macsPerElementMin * graph[fusion.output].shape.elementCount
    }

    /// What a weight gradient reads: a value where it lies, or one that is made again.
    mutating func activationAgain(_ value: Graph.ValueID) -> BufferID {
        guard let id = repeatedNorms[value], let fusion = normFusions[id], let saved = saved[id] else {
            return activation(value)
        }
        let node = graph[id]
        let output = addBuffer("\(node.name) output again", like: value)
        emit(
            "\(label(of: fusion, node)) again", fusion.kernel.repeated(),
            [activation(node.inputs[0])] + node.parameters.prefix(2).map { parameterBuffer($0) } + [output]
                + saved)
        return output
    }

    /// Takes the statistics alone; the output is where the input is, for a reader that normalises.
    private mutating func deferBatchNorm(
        _ node: Graph.Node, _ norm: Operation.BatchNorm, _ fusion: NormFusion
    ) {
        let input = activation(node.inputs[0])
        let parameters = node.parameters.map { parameterBuffer($0) }
        let statistics = addBuffer("\(node.name) statistics", floats: fusion.kernel.savedCount)
        let coefficients = addBuffer("\(node.name) coefficients", floats: fusion.kernel.coefficientCount)
        saved[current] = [statistics]
        emit(
            "\(node.name) statistics", fusion.kernel.statistics(momentum: momentum(norm)),
            [
                input, parameters[0], parameters[1], statistics, parameters[2], parameters[3],
                addBuffer("\(node.name) scratch"), coefficients,
            ])
        place(fusion.output, in: input)
        deferredNorms[fusion.output] = DeferredNorm(
            activation: fusion.kernel.activation, coefficients: coefficients, name: label(of: fusion, node))
    }

    /// What behind a batch normalisation can run in its pass.
    private func fusion(behind node: Graph.Node, _ norm: Operation.BatchNorm) -> NormFusion {
        let value = graph[node.output]
        var kernel = FusedBatchNorm(
            rows: batch * value.positions, channels: value.channels, epsilon: Float(norm.epsilon))
        kernel.type = element(node.output)
        var fusion = NormFusion(kernel: kernel, output: node.output)
        guard options.fuses else { return fusion }
        if let next = soleReader(of: fusion.output), graph[next].operation == .add,
            next.index == current.index + 1,
            let residual = graph[next].inputs.first(where: { $0 != node.output }),
            activations[residual] != nil
        {
            fusion.kernel.addsResidual = true
            fusion.addition = (next, residual)
            fusion.output = graph[next].output
        }
        if let next = soleReader(of: fusion.output) {
            switch graph[next].operation {
            case .activation(.relu): fusion.kernel.activation = .relu
            case .activation(.relu6): fusion.kernel.activation = .relu6
            case .activation(let kind) where !fusion.kernel.addsResidual:
                fusion.kernel.following = kind.kernelKind
            default: return fusion
            }
            fusion.activation = next
            fusion.output = graph[next].output
        }
        return fusion
    }

    /// The backward pass of a node that ran inside a batch normalisation: hands the gradient on to it.
    mutating func backwardAbsorbed(
        _ node: Graph.Node, by owner: Graph.NodeID, _ gradient: BufferID, needs: [Bool]
    ) -> [BufferID?] {
        guard let addition = normFusions[owner]?.addition, addition.node == current else { return [gradient] }
        var residualGradient: BufferID? = gradient
        if normFusions[owner]?.kernel.backwardSplitsResidual == true {
            residualGradient = addBuffer("\(node.name) residual gradient", like: addition.residual)
            normFusions[owner]?.residualGradient = residualGradient
        }
        return zip(node.inputs, needs).map { input, isNeeded in
            guard isNeeded else { return nil }
            return input == addition.residual ? residualGradient : gradient
        }
    }
}
