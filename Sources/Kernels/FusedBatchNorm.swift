internal import CKernels
public import Tensor

/// Batch normalisation of channels-last rows `[rows, channels]` with what follows it in the same pass: y =
/// activation(scale · (x - mean) / sqrt(variance + epsilon) + shift + residual) (Ioffe and Szegedy, 2015).
///
/// Images are rows of channels: rows = batch · height · width. Statistics and parameters are float32, and the
/// same bits come out on any number of threads.
public struct FusedBatchNorm: Hashable, Sendable {
    /// What is applied behind the normalisation (and the residual).
    public enum Activation: Hashable, Sendable { case none, relu, relu6 }

    public var rows: Int
    public var channels: Int
    public var epsilon: Float
    /// Of input, residual, output and their gradients.
    public var type: ElementType = .float32
    public var activation: Activation = .none
    public var addsResidual = false
    /// Any other activation behind it all, while some rows lie in the nearest cache.
    ///
    /// The backward pass makes its input again, to the same bits as if it had been stored. There is no
    /// `activation` and no residual then.
    public var following: ActivationKind?

    /// Batch normalisation alone, in float32.
    public init(rows: Int, channels: Int, epsilon: Float) {
        self.rows = rows
        self.channels = channels
        self.epsilon = epsilon
    }

    /// Floats that training leaves for the backward pass: the batch's mean, what it lost in rounding, and
    /// 1 / sqrt(variance + epsilon), each `[channels]`.
    public var savedCount: Int { 3 * channels }

    /// Whether the backward pass reads the output and writes a gradient for the residual.
    ///
    /// So only with both a residual and an activation: without a residual the activation's input is
    /// recomputed, which spares the reading; without an activation the residual's gradient is `gradient_out`
    /// itself.
    public var backwardSplitsResidual: Bool { addsResidual && activation != .none }

    /// Normalises by the batch's statistics, saves them, and moves the running ones towards them by
    /// `momentum` (the variance unbiased).
    ///
    /// Operands: `input, scale, shift, [residual], output, saved, running mean, running variance, scratch`;
    /// output may be the residual's slot.
    public func training(momentum: Float) -> any PreparedKernel {
        var block = unsafe forwardBlock
        unsafe block.momentum = momentum
        return unsafe KernelCall(
            "ck_batch_norm_training", { unsafe ck_batch_norm_training($0) }, block,
            forwardBindings + statisticsBindings)
    }

    /// The output of `training` once more, to the same bits, while scale and shift are what they were.
    ///
    /// Operands: `input, scale, shift, [residual], output, saved`.
    public func repeated() -> any PreparedKernel {
        let bindings: [(Operand, Binder)] = unsafe [
            (.floats(savedCount, .read), { unsafe $0.saved = unsafe $1.floats })
        ]
        return unsafe KernelCall(
            "ck_batch_norm_repeat", { unsafe ck_batch_norm_repeat($0) }, forwardBlock,
            forwardBindings + bindings)
    }

    /// Takes the batch's statistics as `training` does, but leaves the output to its reader: output =
    /// activation((input - mean) · factor + offset), which `Convolution.normalizes` tells who can.
    ///
    /// Operands: `input, scale, shift, saved, running mean, running variance, scratch, coefficients`; the
    /// last are mean, factor and offset, `[3, channels]`. There is no residual.
    public func statistics(momentum: Float) -> any PreparedKernel {
        precondition(isNormalizedByReaders, "readers limit what they normalise and nothing else")
        var block = unsafe forwardBlock
        unsafe block.momentum = momentum
        let bindings: [(Operand, Binder)] =
            unsafe inputBindings + statisticsBindings + [
                (.floats(coefficientCount, .write), { unsafe $0.coefficients = unsafe $1.floats })
            ]
        return unsafe KernelCall(
            "ck_batch_norm_statistics", { unsafe ck_batch_norm_statistics($0) }, block, bindings)
    }

    /// Whether a reader can make the output as it reads, by `statistics`.
    public var isNormalizedByReaders: Bool { !addsResidual && following == nil }

    /// Floats that `statistics` leaves for the reader.
    public var coefficientCount: Int { 3 * channels }

    /// Normalises by the running statistics.
    ///
    /// Operands: `input, scale, shift, [residual], output, running mean, running variance`; output may be the
    /// slot of the input or the residual.
    public func inference() -> any PreparedKernel {
        let bindings: [(Operand, Binder)] = unsafe [
            (.floats(channels, .read), { unsafe $0.running_mean = unsafe $1.floats }),
            (.floats(channels, .read), { unsafe $0.running_variance = unsafe $1.floats }),
        ]
        return unsafe KernelCall(
            "ck_batch_norm_inference", { unsafe ck_batch_norm_inference($0) }, forwardBlock,
            forwardBindings + bindings)
    }

    private typealias Binder = KernelCall<ck_batch_norm_arguments>.Binder

    var parts: Int { ck_part_count(rows, channels) }

    var scratch: Operand {
        Operand(parts * 2 * channels * MemoryLayout<Double>.stride, .write)
    }

    var kernelActivation: ck_activation {
        switch activation {
        case .none: ck_activation(CK_ACTIVATION_NONE)
        case .relu: ck_activation(CK_ACTIVATION_RELU)
        case .relu6: ck_activation(CK_ACTIVATION_RELU6)
        }
    }

    private var forwardBlock: ck_batch_norm_arguments {
        var block = unsafe ck_batch_norm_arguments()
        unsafe block.rows = rows
        unsafe block.channels = channels
        unsafe block.parts = parts
        unsafe block.epsilon = epsilon
        unsafe block.activation = kernelActivation
        unsafe block.following = following?.kernelActivation ?? ck_activation(CK_ACTIVATION_NONE)
        unsafe block.slope = following?.slope ?? 0
        unsafe block.type = type.kernelElement
        return unsafe block
    }

    private var inputBindings: [(Operand, Binder)] {
        unsafe [
            (.elements(rows * channels, type, .read), { unsafe $0.input = UnsafeRawPointer($1) }),
            (.floats(channels, .read), { unsafe $0.scale = unsafe $1.constantFloats }),
            (.floats(channels, .read), { unsafe $0.shift = unsafe $1.constantFloats }),
        ]
    }

    private var statisticsBindings: [(Operand, Binder)] {
        unsafe [
            (.floats(savedCount, .write), { unsafe $0.saved = unsafe $1.floats }),
            (.floats(channels, .readWrite), { unsafe $0.running_mean = unsafe $1.floats }),
            (.floats(channels, .readWrite), { unsafe $0.running_variance = unsafe $1.floats }),
            (scratch, { unsafe $0.scratch = unsafe $1.assumingMemoryBound(to: Double.self) }),
        ]
    }

    private var forwardBindings: [(Operand, Binder)] {
        let elements = rows * channels
        var bindings = unsafe inputBindings
        if addsResidual {
            unsafe bindings.append(
                (.elements(elements, type, .read), { unsafe $0.residual = UnsafeRawPointer($1) }))
        }
        unsafe bindings.append((.elements(elements, type, .write), { unsafe $0.output = $1 }))
        return unsafe bindings
    }
}
