internal import CKernels
public import Tensor

/// The element-wise activations; formulas and gradients at the kinks are PyTorch's.
public enum ActivationKind: Hashable, Sendable {
    case relu
    /// min(max(x, 0), 6).
    case relu6
    /// x for x > 0, else slope · x.
    case leakyReLU(slope: Float)
    /// x · Φ(x), PyTorch's `gelu`.
    case geluErf
    /// PyTorch's `gelu(approximate="tanh")`.
    case geluTanh
    /// x · sigmoid(x).
    case silu
    case sigmoid
    case tanh
    /// x · relu6(x + 3) / 6.
    case hardSwish

    /// Which of an activation's tensors its backward pass reads.
    public enum Saved: Sendable { case input, output }

    /// The cheaper one; where it is the output, the forward pass may be in place.
    public var backwardReads: Saved {
        switch self {
        case .relu, .relu6, .sigmoid, .tanh: .output
        // A slope of 0 or below loses the input's sign.
        case .leakyReLU(let slope): slope > 0 ? .output : .input
        case .geluErf, .geluTanh, .silu, .hardSwish: .input
        }
    }

    var kernelActivation: ck_activation {
        switch self {
        case .relu: ck_activation(CK_ACTIVATION_RELU)
        case .relu6: ck_activation(CK_ACTIVATION_RELU6)
        case .leakyReLU: ck_activation(CK_ACTIVATION_LEAKY_RELU)
        case .geluErf: ck_activation(CK_ACTIVATION_GELU_ERF)
        case .geluTanh: ck_activation(CK_ACTIVATION_GELU_TANH)
        case .silu: ck_activation(CK_ACTIVATION_SILU)
        case .sigmoid: ck_activation(CK_ACTIVATION_SIGMOID)
        case .tanh: ck_activation(CK_ACTIVATION_TANH)
        case .hardSwish: ck_activation(CK_ACTIVATION_HARD_SWISH)
        }
    }

    var slope: Float {
        if case .leakyReLU(let slope) = self { slope } else { 0 }
    }
}

/// An activation over `count` elements and its gradient.
public enum Activation {
    /// output = kind(input); operands `input, output`, which may be one slot.
    public static func forward(
        _ kind: ActivationKind, count: Int, type: ElementType = .float32
    ) -> any PreparedKernel {
        var block = unsafe ck_activation_arguments()
        unsafe block.count = count
        unsafe block.kind = kind.kernelActivation
        unsafe block.slope = kind.slope
        unsafe block.type = type.kernelElement
        return unsafe KernelCall(
            "ck_activation", { unsafe ck_activation_forward($0) }, block,
            [
                (.elements(count, type, .read), { unsafe $0.input = UnsafeRawPointer($1) }),
                (.elements(count, type, .write), { unsafe $0.output = $1 }),
            ])
    }

    /// Whether `forwardWithDerivative` gains: where the derivative shares most of what the output costs.
    public static func sharesDerivative(_ kind: ActivationKind) -> Bool {
        [.geluErf, .geluTanh, .silu].contains(kind)
    }

    /// output = kind(input), derivative = kind'(input), so that the backward pass is a product; operands
    /// `input, output, derivative`, of which the last may be the first.
    ///
    /// For kinds that `sharesDerivative`. 768 x 512 of `geluErf` took 92 us forward and 121 backward.
    public static func forwardWithDerivative(
        _ kind: ActivationKind, count: Int, type: ElementType = .float32
    ) -> any PreparedKernel {
        precondition(sharesDerivative(kind), "\(kind) has no derivative to share")
        var block = unsafe ck_activation_arguments()
        unsafe block.count = count
        unsafe block.kind = kind.kernelActivation
        unsafe block.type = type.kernelElement
        return unsafe KernelCall(
            "ck_activation:derivative", { unsafe ck_activation_forward($0) }, block,
            [
                (.elements(count, type, .read), { unsafe $0.input = UnsafeRawPointer($1) }),
                (.elements(count, type, .write), { unsafe $0.output = $1 }),
                (.elements(count, type, .write), { unsafe $0.derivative = $1 }),
            ])
    }

    /// gradient_in = kind'(saved) · gradient_out; operands `saved, gradient_out, gradient_in`.
    ///
    /// `saved` is what `kind.backwardReads` names; `gradient_in` may be either of the others' slot.
    public static func backward(
        _ kind: ActivationKind, count: Int, type: ElementType = .float32
    ) -> any PreparedKernel {
        var block = unsafe ck_activation_backward_arguments()
        unsafe block.count = count
        unsafe block.kind = kind.kernelActivation
        unsafe block.slope = kind.slope
        unsafe block.type = type.kernelElement
        return unsafe KernelCall(
            "ck_activation_backward", { unsafe ck_activation_backward($0) }, block,
            [
                (.elements(count, type, .read), { unsafe $0.saved = UnsafeRawPointer($1) }),
                (.elements(count, type, .read), { unsafe $0.gradient_out = UnsafeRawPointer($1) }),
                (.elements(count, type, .write), { unsafe $0.gradient_in = $1 }),
            ])
    }
}
