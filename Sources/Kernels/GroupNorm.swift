internal import CKernels
public import Tensor

/// Group normalisation (Wu and He, 2018) of channels-last images `[batch, area, channels]`, as PyTorch's.
///
/// In each sample each of `groups` runs of neighbouring channels has a mean and a variance of its own; then
/// each channel its scale and shift. The same bits come out on any number of threads.
public struct GroupNorm: Hashable, Sendable {
    public var batch: Int
    /// Height · width.
    public var area: Int
    public var channels: Int
    /// A divisor of `channels`.
    public var groups: Int
    public var epsilon: Float
    /// Of input, output and their gradients.
    public var type: ElementType = .float32
    /// Whether there are scale and shift.
    public var isAffine = true
    /// What follows while some rows lie in the nearest cache; the backward pass makes its input again, to the
    /// same bits as if it had been stored.
    public var activation: ActivationKind?

    /// Group normalisation with scale and shift, in float32.
    public init(batch: Int, area: Int, channels: Int, groups: Int, epsilon: Float) {
        self.batch = batch
        self.area = area
        self.channels = channels
        self.groups = groups
        self.epsilon = epsilon
    }

    /// Floats that the backward pass needs: `[3, batch, groups]`, the mean, what it lost in rounding, and
    /// 1 / sqrt(variance + epsilon).
    public var savedCount: Int { 3 * batch * groups }

    /// Operands: `input, [scale, shift], output, saved, scratch`; output may be the input's slot.
    public func forward() -> any PreparedKernel {
        var block = unsafe ck_group_norm_arguments()
        unsafe block.batch = batch
        unsafe block.area = area
        unsafe block.channels = channels
        unsafe block.groups = groups
        unsafe block.parts = parts
        unsafe block.epsilon = epsilon
        unsafe block.activation = activation?.kernelActivation ?? ck_activation(CK_ACTIVATION_NONE)
        unsafe block.slope = activation?.slope ?? 0
        unsafe block.type = type.kernelElement
        var bindings: [(Operand, KernelCall<ck_group_norm_arguments>.Binder)] = unsafe [
            (images(.read), { unsafe $0.input = UnsafeRawPointer($1) })
        ]
        if isAffine {
            unsafe bindings.append((.floats(channels, .read), { unsafe $0.scale = unsafe $1.constantFloats }))
            unsafe bindings.append((.floats(channels, .read), { unsafe $0.shift = unsafe $1.constantFloats }))
        }
        unsafe bindings.append((images(.write), { unsafe $0.output = $1 }))
        unsafe bindings.append((.floats(savedCount, .write), { unsafe $0.saved = unsafe $1.floats }))
        unsafe bindings.append(
            (scratch, { unsafe $0.scratch = unsafe $1.assumingMemoryBound(to: Double.self) }))
        return unsafe KernelCall("ck_group_norm", { unsafe ck_group_norm($0) }, block, bindings)
    }

    /// The gradients of input, scale and shift.
    ///
    /// Operands: `input, saved, [scale], gradient_out, gradient_in, [scale gradient, shift gradient],
    /// scratch`, with an activation the shift behind the scale; `gradient_in` may be `gradient_out`'s slot.
    public func backward() -> any PreparedKernel {
        var block = unsafe ck_group_norm_backward_arguments()
        unsafe block.batch = batch
        unsafe block.area = area
        unsafe block.channels = channels
        unsafe block.groups = groups
        unsafe block.parts = parts
        unsafe block.activation = activation?.kernelActivation ?? ck_activation(CK_ACTIVATION_NONE)
        unsafe block.slope = activation?.slope ?? 0
        unsafe block.type = type.kernelElement
        var bindings: [(Operand, KernelCall<ck_group_norm_backward_arguments>.Binder)] = unsafe [
            (images(.read), { unsafe $0.input = UnsafeRawPointer($1) }),
            (.floats(savedCount, .read), { unsafe $0.saved = unsafe $1.constantFloats }),
        ]
        if isAffine {
            unsafe bindings.append((.floats(channels, .read), { unsafe $0.scale = unsafe $1.constantFloats }))
        }
        if isAffine, activation != nil {
            unsafe bindings.append((.floats(channels, .read), { unsafe $0.shift = unsafe $1.constantFloats }))
        }
        unsafe bindings.append((images(.read), { unsafe $0.gradient_out = UnsafeRawPointer($1) }))
        unsafe bindings.append((images(.write), { unsafe $0.gradient_in = $1 }))
        if isAffine {
            unsafe bindings.append(
                (.floats(channels, .write), { unsafe $0.scale_gradient = unsafe $1.floats }))
            unsafe bindings.append(
                (.floats(channels, .write), { unsafe $0.shift_gradient = unsafe $1.floats }))
        }
        unsafe bindings.append(
            (scratch, { unsafe $0.scratch = unsafe $1.assumingMemoryBound(to: Double.self) }))
        return unsafe KernelCall(
            "ck_group_norm_backward", { unsafe ck_group_norm_backward($0) }, block, bindings)
    }

    private var parts: Int { ck_part_count(batch, area * channels) }
    private var scratch: Operand {
        Operand(parts * 4 * channels * MemoryLayout<Double>.stride, .write)
    }
    private func images(_ access: Access) -> Operand { .elements(batch * area * channels, type, access) }
}
