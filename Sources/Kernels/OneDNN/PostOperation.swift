internal import COneDNN

/// What a convolution or product does to its result before it stores it, in float32.
public enum PostOperation: Hashable, Sendable {
    case relu
    /// min(max(x, 0), 6).
    case relu6
    /// x for x > 0, else the given slope times x.
    case leakyReLU(Float)
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
    /// Multiplied by a factor.
    case scaled(Float)
    /// min(max(x, 0), bound): a `relu6` of numbers that are multiples of a scale.
    case bounded(Float)
    /// Adds a constant: the code of zero.
    case shifted(Float)
    /// min(max(x, low), high).
    case clipped(Float, Float)
    /// Adds what the destination held before: a residual, without a pass of its own.
    case addToDestination

    /// The activation that it is, for kernels of our own.
    public var activation: ActivationKind? {
        switch self {
        case .relu: .relu
        case .relu6: .relu6
        case .leakyReLU(let slope): .leakyReLU(slope: slope)
        case .geluErf: .geluErf
        case .geluTanh: .geluTanh
        case .silu: .silu
        case .sigmoid: .sigmoid
        case .tanh: .tanh
        case .hardSwish: .hardSwish
        case .scaled, .bounded, .shifted, .clipped, .addToDestination: nil
        }
    }

    /// Appends the operation to oneDNN's list.
    func append(to operations: dnnl_post_ops_t?) throws(KernelError) {
        let algorithm: dnnl_alg_kind_t
        var (alpha, beta): (Float, Float) = (0, 0)
        switch self {
        case .addToDestination:
            try unsafe KernelError.check(dnnl_post_ops_append_sum(operations, 1), "append a sum")
            return
        case .relu: (algorithm, alpha) = (dnnl_eltwise_relu, 0)
        case .relu6: (algorithm, alpha) = (dnnl_eltwise_bounded_relu, 6)
        case .leakyReLU(let slope): (algorithm, alpha) = (dnnl_eltwise_relu, slope)
        case .geluErf: (algorithm, alpha) = (dnnl_eltwise_gelu_erf, 0)
        case .geluTanh: (algorithm, alpha) = (dnnl_eltwise_gelu_tanh, 0)
        case .silu: (algorithm, alpha) = (dnnl_eltwise_swish, 1)
        case .sigmoid: (algorithm, alpha) = (dnnl_eltwise_logistic, 0)
        case .tanh: (algorithm, alpha) = (dnnl_eltwise_tanh, 0)
        case .hardSwish: (algorithm, alpha) = (dnnl_eltwise_hardswish, 0)
        case .scaled(let factor): (algorithm, alpha) = (dnnl_eltwise_linear, factor)
        case .bounded(let bound): (algorithm, alpha) = (dnnl_eltwise_bounded_relu, bound)
        case .shifted(let constant): (algorithm, alpha, beta) = (dnnl_eltwise_linear, 1, constant)
        case .clipped(let low, let high): (algorithm, alpha, beta) = (dnnl_eltwise_clip, low, high)
        }
        try unsafe KernelError.check(
            dnnl_post_ops_append_eltwise(operations, 1, algorithm, alpha, beta), "append \(self)")
    }
}
