internal import CKernels
internal import Tensor

/// Between the element types of activations; operands `input, output`, which must not overlap.
public enum ElementConversion {
    /// bfloat16 as float32, without loss.
    public static func widen(count: Int) -> any PreparedKernel {
        unsafe kernel("ck_widen", { unsafe ck_widen($0) }, count, .bfloat16, .float32)
    }

    /// float32 rounded to the nearest bfloat16, ties to even; NaN stays NaN.
    public static func narrow(count: Int) -> any PreparedKernel {
        unsafe kernel("ck_narrow", { unsafe ck_narrow($0) }, count, .float32, .bfloat16)
    }

    /// The same rounding, stored as float32.
    public static func round(count: Int) -> any PreparedKernel {
        unsafe kernel("ck_round", { unsafe ck_round($0) }, count, .float32, .float32)
    }

    private typealias Call = KernelCall<ck_convert_arguments>

    private static func kernel(
        _ name: String, _ function: @escaping Call.Function, _ count: Int, _ input: ElementType,
        _ output: ElementType
    ) -> any PreparedKernel {
        var block = unsafe ck_convert_arguments()
        unsafe block.count = count
        return unsafe Call(
            name, function, block,
            [
                (.elements(count, input, .read), { unsafe $0.input = UnsafeRawPointer($1) }),
                (.elements(count, output, .write), { unsafe $0.output = $1 }),
            ])
    }
}
