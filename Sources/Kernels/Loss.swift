internal import CKernels
public import Tensor

/// Losses over a batch of rows, with their gradients in the same pass.
///
/// Operands: `state, outputs, labels or targets, row loss, row correct, result, [gradient]`. `row loss` and
/// `row correct` are scratch of one float and one Int32 a row. The gradient is scaled by the state's
/// `inverseCount` and may share the outputs' slot.
public enum Loss {
    /// What one row of outputs costs; PyTorch's losses, whose mean over the counted rows is theirs.
    public enum Function: Hashable, Sendable {
        /// -Σ t' · log softmax(outputs) with t' = (1 - smoothing) · target + smoothing / width (Szegedy et
        /// al., 2016).
        case crossEntropy(labelSmoothing: Float)
        /// Σ t · (log t - log softmax(outputs)): `F.kl_div` of the log-softmax with `batchmean`.
        case klDivergence
        /// Mean of the squared differences.
        case squaredError
        /// Mean of the absolute differences.
        case absoluteError
        /// Mean of ½ d² for differences d up to delta, and of delta · (d - ½ delta) beyond.
        case huber(delta: Float)
        /// Mean of -t · log σ(z) - (1 - t) · log(1 - σ(z)) over the logits z.
        case binaryCrossEntropy
    }

    /// What outputs are compared with.
    public enum Target: Hashable, Sendable {
        /// `[rows]` Int32, standing for one-hot rows. A row labelled `ignored` is left out; any other label
        /// that is not below the width makes the loss NaN.
        case labels(ignored: Int32 = -100)
        /// `[rows, width]` floats.
        case values
    }

    /// A loss over `[rows, width]` outputs, which like their gradient are stored as `element`.
    public static func prepare(
        _ function: Function, rows: Int, width: Int, target: Target, element: ElementType = .float32,
        gradient: Bool
    ) -> any PreparedKernel {
        var block = unsafe ck_loss_arguments()
        unsafe block.rows = rows
        unsafe block.width = width
        unsafe block.element = element.kernelElement
        if case .crossEntropy(let smoothing) = function { unsafe block.label_smoothing = smoothing }
        if case .huber(let delta) = function { unsafe block.delta = delta }
        if case .labels(let ignored) = target { unsafe block.ignored_label = ignored }
        typealias Binding = (Operand, KernelCall<ck_loss_arguments>.Binder)
        let perRow = Operand.floats(rows, .write)
        let truth: Binding =
            target == .values
            ? (.floats(rows * width, .read), { unsafe $0.targets = unsafe $1.constantFloats })
            : (.floats(rows, .read), { unsafe $0.labels = unsafe UnsafePointer($1.integers) })
        var bindings: [Binding] = unsafe [
            (StepState.operand, { unsafe $0.state = unsafe $1.stepState }),
            (.elements(rows * width, element, .read), { unsafe $0.outputs = UnsafeRawPointer($1) }),
            truth,
            (perRow, { unsafe $0.row_loss = unsafe $1.floats }),
            (perRow, { unsafe $0.row_correct = unsafe $1.integers }),
            (
                LossResult.operand,
                { unsafe $0.result = unsafe $1.assumingMemoryBound(to: ck_loss_result.self) }
            ),
        ]
        if gradient {
            unsafe bindings.append(
                (.elements(rows * width, element, .write), { unsafe $0.gradient = unsafe $1 }))
        }
        return unsafe KernelCall(function.name, function.body, block, bindings)
    }

    /// Softmax cross-entropy against labels.
    public static func crossEntropy(
        rows: Int, classes: Int, labelSmoothing: Float, gradient: Bool
    ) -> any PreparedKernel {
        prepare(
            .crossEntropy(labelSmoothing: labelSmoothing), rows: rows, width: classes, target: .labels(),
            gradient: gradient)
    }

    /// Mean of squared differences, against float targets or one-hot Int32 labels.
    public static func squaredError(
        rows: Int, width: Int, oneHot: Bool, gradient: Bool
    ) -> any PreparedKernel {
        prepare(
            .squaredError, rows: rows, width: width, target: oneHot ? .labels() : .values,
            gradient: gradient)
    }
}

extension Loss.Function {
    fileprivate var name: String {
        switch self {
        case .crossEntropy: "ck_cross_entropy"
        case .klDivergence: "ck_kl_divergence"
        case .squaredError: "ck_squared_error"
        case .absoluteError: "ck_absolute_error"
        case .huber: "ck_huber"
        case .binaryCrossEntropy: "ck_binary_cross_entropy"
        }
    }

    fileprivate var body: KernelCall<ck_loss_arguments>.Function {
        switch self {
        case .crossEntropy: { unsafe ck_cross_entropy($0) }
        case .klDivergence: { unsafe ck_kl_divergence($0) }
        case .squaredError: { unsafe ck_squared_error($0) }
        case .absoluteError: { unsafe ck_absolute_error($0) }
        case .huber: { unsafe ck_huber($0) }
        case .binaryCrossEntropy: { unsafe ck_binary_cross_entropy($0) }
        }
    }
}
