internal import CKernels

extension FusedBatchNorm {
    /// The gradients of input, scale and shift, and of the residual where `backwardSplitsResidual`.
    ///
    /// Operands: `input, saved, scale, shift, gradient_out, gradient_in, scale gradient, shift gradient,
    /// scratch`, then, where `backwardSplitsResidual`, `output, residual gradient`. Either gradient may be
    /// `gradient_out`'s slot, not both.
    public func backward() -> any PreparedKernel {
        precondition(following == nil || !addsResidual, "a residual takes its share behind one activation")
        var bindings = unsafe readBindings + [gradientIn] + parameterBindings + [sums(scratch)]
        if backwardSplitsResidual {
            let elements = rows * channels
            unsafe bindings.append(
                (.elements(elements, type, .read), { unsafe $0.output = UnsafeRawPointer($1) }))
            unsafe bindings.append(
                (.elements(elements, type, .write), { unsafe $0.residual_gradient = $1 }))
        }
        return unsafe KernelCall(
            "ck_batch_norm_backward", { unsafe ck_batch_norm_backward($0) }, backwardBlock(parts), bindings)
    }

    /// The first pass of `backward`: the gradients of scale and shift, and what the input's gradient is made
    /// by where the convolution in front does that (`Convolution.backwardBetweenNorms`).
    ///
    /// Operands: `input, saved, scale, shift, gradient_out, scale gradient, shift gradient, scratch,
    /// coefficients`; the last are `[5, channels]`. There is no residual.
    public func backwardSums() -> any PreparedKernel {
        precondition(isNormalizedByReaders, "a residual takes its own share of the gradient")
        let bindings: [(Operand, BackwardBinder)] =
            unsafe readBindings + parameterBindings + [
                sums(scratch),
                (
                    .floats(backwardCoefficientCount, .write),
                    { unsafe $0.coefficients = unsafe $1.floats }
                ),
            ]
        return unsafe KernelCall(
            "ck_batch_norm_backward_sums", { unsafe ck_batch_norm_backward_sums($0) }, backwardBlock(parts),
            bindings)
    }

    /// Floats that `backwardSums` leaves for the reader.
    public var backwardCoefficientCount: Int { 5 * channels }

    /// The second pass of `backward`, where the convolution behind has made the first one's sums in so many
    /// parts.
    ///
    /// Operands: `input, saved, scale, shift, gradient_out, gradient_in, scale gradient, shift gradient,
    /// sums`; `gradient_in` may be `gradient_out`'s slot. There is no residual.
    public func backwardInput(sumParts: Int) -> any PreparedKernel {
        precondition(isNormalizedByReaders, "a residual takes its own share of the gradient")
        let made = Operand(sumParts * 2 * channels * MemoryLayout<Double>.stride, .readWrite)
        return unsafe KernelCall(
            "ck_batch_norm_backward_input", { unsafe ck_batch_norm_backward_input($0) },
            backwardBlock(sumParts), readBindings + [gradientIn] + parameterBindings + [sums(made)])
    }

    private typealias BackwardBinder = KernelCall<ck_batch_norm_backward_arguments>.Binder

    private func backwardBlock(_ sumParts: Int) -> ck_batch_norm_backward_arguments {
        var block = unsafe ck_batch_norm_backward_arguments()
        unsafe block.rows = rows
        unsafe block.channels = channels
        unsafe block.parts = parts
        unsafe block.sum_parts = sumParts
        unsafe block.activation = kernelActivation
        unsafe block.following = following?.kernelActivation ?? ck_activation(CK_ACTIVATION_NONE)
        unsafe block.slope = following?.slope ?? 0
        unsafe block.type = type.kernelElement
        return unsafe block
    }

    private var readBindings: [(Operand, BackwardBinder)] {
        let elements = rows * channels
        return unsafe [
            (.elements(elements, type, .read), { unsafe $0.input = UnsafeRawPointer($1) }),
            (.floats(savedCount, .read), { unsafe $0.saved = unsafe $1.constantFloats }),
            (.floats(channels, .read), { unsafe $0.scale = unsafe $1.constantFloats }),
            (.floats(channels, .read), { unsafe $0.shift = unsafe $1.constantFloats }),
            (.elements(elements, type, .read), { unsafe $0.gradient_out = UnsafeRawPointer($1) }),
        ]
    }

    private var gradientIn: (Operand, BackwardBinder) {
        (.elements(rows * channels, type, .write), { unsafe $0.gradient_in = $1 })
    }

    private var parameterBindings: [(Operand, BackwardBinder)] {
        unsafe [
            (.floats(channels, .write), { unsafe $0.scale_gradient = unsafe $1.floats }),
            (.floats(channels, .write), { unsafe $0.shift_gradient = unsafe $1.floats }),
        ]
    }

    private func sums(_ operand: Operand) -> (Operand, BackwardBinder) {
        (operand, { unsafe $0.scratch = unsafe $1.assumingMemoryBound(to: Double.self) })
    }
}
