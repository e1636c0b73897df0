internal import CKernels

/// The loop by which memory is measured (McCalpin's STREAM).
public enum Triad {
    /// output = left + 3 * right over `count` floats; operands `left, right, output`, which may not overlap.
    public static func prepare(count: Int) -> any PreparedKernel {
        var block = unsafe ck_triad_arguments()
        unsafe block.count = count
        unsafe block.factor = 3
        return unsafe KernelCall(
            "ck_triad", { unsafe ck_triad($0) }, block,
            [
                (.floats(count, .read), { unsafe $0.left = $1.constantFloats }),
                (.floats(count, .read), { unsafe $0.right = $1.constantFloats }),
                (.floats(count, .write), { unsafe $0.output = $1.floats }),
            ])
    }
}
