internal import CKernels
public import Tensor

/// Normalisation of each row of `[rows, width]`, as PyTorch's `layer_norm` and `rms_norm` over the last axis.
///
/// Layer (Ba et al., 2016): y = (x - mean) / sqrt(variance + epsilon) · scale + shift. RMS (Zhang and
/// Sennrich, 2019): y = x / sqrt(mean of x² + epsilon) · scale. The same bits come out on any number of
/// threads.
public struct RowNorm: Hashable, Sendable {
    public enum Kind: Hashable, Sendable { case layer, rms }
    /// The parameters, each `[width]` in float32.
    public enum Affine: Int, Hashable, Sendable, Comparable {
        case none, scale, scaleAndShift

        public static func < (left: Affine, right: Affine) -> Bool { left.rawValue < right.rawValue }
    }

    public var kind: Kind
    public var rows: Int
    public var width: Int
    public var epsilon: Float
    /// RMS normalisation has no shift: `scaleAndShift` means `scale` there.
    public var affine: Affine
    /// Of input, output and their gradients.
    public var type: ElementType = .float32
    /// Normalises input + residual, and hands that sum on: a transformer's residual stream in the same pass.
    public var addsResidual = false
    /// What follows while a row lies in the nearest cache; the backward pass makes its input again, to the
    /// same bits as if it had been stored.
    public var activation: ActivationKind?

    /// Normalisation with all the kind's parameters, in float32.
    public init(_ kind: Kind, rows: Int, width: Int, epsilon: Float) {
        self.kind = kind
        self.rows = rows
        self.width = width
        self.epsilon = epsilon
        affine = kind == .layer ? .scaleAndShift : .scale
    }

    /// Floats that the backward pass needs: 1 / sqrt(variance + epsilon) of each row, and for `layer` its
    /// mean in two parts.
    public var savedCount: Int { kind == .layer ? 3 * rows : rows }

    /// Operands: `input, [residual, sum], [scale, [shift]], output, saved`.
    ///
    /// `sum` may be the slot of input or residual; without a residual `output` may be the input's.
    public func forward() -> any PreparedKernel {
        var block = unsafe ck_row_norm_arguments()
        unsafe block.rows = rows
        unsafe block.width = width
        unsafe block.epsilon = epsilon
        unsafe block.centered = kind == .layer ? 1 : 0
        unsafe block.activation = activation?.kernelActivation ?? ck_activation(CK_ACTIVATION_NONE)
        unsafe block.slope = activation?.slope ?? 0
        unsafe block.type = type.kernelElement
        let elements = rows * width
        var bindings: [(Operand, KernelCall<ck_row_norm_arguments>.Binder)] = unsafe [
            (.elements(elements, type, .read), { unsafe $0.input = UnsafeRawPointer($1) })
        ]
        if addsResidual {
            unsafe bindings.append(
                (.elements(elements, type, .read), { unsafe $0.residual = UnsafeRawPointer($1) }))
            unsafe bindings.append((.elements(elements, type, .write), { unsafe $0.sum = $1 }))
        }
        if hasScale {
            unsafe bindings.append((.floats(width, .read), { unsafe $0.scale = unsafe $1.constantFloats }))
        }
        if hasShift {
            unsafe bindings.append((.floats(width, .read), { unsafe $0.shift = unsafe $1.constantFloats }))
        }
        unsafe bindings.append((.elements(elements, type, .write), { unsafe $0.output = $1 }))
        unsafe bindings.append((.floats(savedCount, .write), { unsafe $0.saved = unsafe $1.floats }))
        return unsafe KernelCall(name, { unsafe ck_row_norm($0) }, block, bindings)
    }

    /// The gradients of what was normalised and of the parameters.
    ///
    /// Operands: `input, saved, [scale], gradient_out, [addend], gradient_in, [scale gradient, [shift
    /// gradient], scratch]`; with an activation `scale` is followed by the shift, if there is one, and there
    /// is a scratch in any case. With a residual, `input` is the sum, `addend` the gradient that reached
    /// the sum elsewhere, and `gradient_in`, which includes it, is the gradient of both input and residual.
    /// `gradient_in` may be the slot of `gradient_out` or `addend`.
    public func backward() -> any PreparedKernel {
        var block = unsafe ck_row_norm_backward_arguments()
        unsafe block.rows = rows
        unsafe block.width = width
        unsafe block.parts = parts
        unsafe block.centered = kind == .layer ? 1 : 0
        unsafe block.activation = activation?.kernelActivation ?? ck_activation(CK_ACTIVATION_NONE)
        unsafe block.slope = activation?.slope ?? 0
        unsafe block.type = type.kernelElement
        let elements = rows * width
        var bindings: [(Operand, KernelCall<ck_row_norm_backward_arguments>.Binder)] = unsafe [
            (.elements(elements, type, .read), { unsafe $0.input = UnsafeRawPointer($1) }),
            (.floats(savedCount, .read), { unsafe $0.saved = unsafe $1.constantFloats }),
        ]
        if hasScale {
            unsafe bindings.append((.floats(width, .read), { unsafe $0.scale = unsafe $1.constantFloats }))
        }
        if hasShift, activation != nil {
            unsafe bindings.append((.floats(width, .read), { unsafe $0.shift = unsafe $1.constantFloats }))
        }
        unsafe bindings.append(
            (.elements(elements, type, .read), { unsafe $0.gradient_out = UnsafeRawPointer($1) }))
        if addsResidual {
            unsafe bindings.append(
                (.elements(elements, type, .read), { unsafe $0.addend = UnsafeRawPointer($1) }))
        }
        unsafe bindings.append((.elements(elements, type, .write), { unsafe $0.gradient_in = $1 }))
        if hasScale {
            unsafe bindings.append(
                (.floats(width, .write), { unsafe $0.scale_gradient = unsafe $1.floats }))
        }
        if hasShift {
            unsafe bindings.append(
                (.floats(width, .write), { unsafe $0.shift_gradient = unsafe $1.floats }))
        }
        if hasScale || activation != nil {
            let lines = activation == nil ? 2 : 3
            unsafe bindings.append(
                (.floats(parts * lines * width, .write), { unsafe $0.scratch = unsafe $1.floats }))
        }
        return unsafe KernelCall("\(name)_backward", { unsafe ck_row_norm_backward($0) }, block, bindings)
    }

    private var name: String { kind == .layer ? "ck_layer_norm" : "ck_rms_norm" }
    private var parts: Int { ck_part_count(rows, width) }
    private var hasScale: Bool { affine > .none }
    private var hasShift: Bool { affine == .scaleAndShift && kind == .layer }
}
