internal import Graph
internal import Kernels
internal import Tensor

/// The loss.
extension Lowering {
    /// Where a plan learns from a teacher.
    struct TaughtLoss {
        let step: Int
        let outputs: BufferID
    }

    /// Lowers the loss; its gradient takes the output's place where the backward pass does not read that.
    ///
    /// - Returns: The buffer of the output's gradient.
    mutating func loss() throws(PlanError) -> BufferID {
        let output = graph[graph.output]
        let (rows, width) = (batch * output.positions, output.channels)
        let isGradient = mode.isTraining
        let logits = activation(graph.output)
        guard let kind = mode.loss else { return logits }
        let targets = addBuffer("targets", home: .external(.target))
        let rowLoss = addBuffer("row loss", floats: rows)
        let rowCorrect = addBuffer("row correct", floats: rows)
        let target = kind.takesLabels ? Loss.Target.labels() : .values
        let kernel: any PreparedKernel
        var operands: [BufferID]
        if case .distillation(let settings, _) = kind {
            let teacher = addBuffer("teacher outputs", home: .external(.teacher))
            let rowSoft = addBuffer("row soft loss", floats: rows)
            kernel = DistillationLoss.prepare(
                settings, rows: rows, width: width, target: target, element: element(graph.output),
                gradient: isGradient)
            operands = [state, logits, targets, teacher, rowLoss, rowCorrect, rowSoft, result]
            taught = TaughtLoss(step: steps.count, outputs: logits)
        } else {
            kernel = Loss.prepare(
                kind.function, rows: rows, width: width, target: target, element: element(graph.output),
                gradient: isGradient)
            operands = [state, logits, targets, rowLoss, rowCorrect, result]
        }
        guard isGradient else {
            emit("loss", kernel, operands)
            return logits
        }
        let isFree = !isReadBackward(graph.output) && graph.consumers(of: graph.output).isEmpty
        let gradient = isFree ? logits : addBuffer("output gradient", like: graph.output)
        operands.append(gradient)
        emit("loss", kernel, operands)
        return gradient
    }
}
