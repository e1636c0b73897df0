internal import CKernels

/// The elementary functions that other kernels are made of, apart so that their accuracy can be tested.
enum VectorMath: CaseIterable {
    case exp, sigmoid, tanh, erf
    /// The exponential of sixteen lanes, which is `exp` bit by bit.
    case laneExp
    /// Of positive numbers.
    case log
    /// log(1 + x) of numbers from 0 to 1.
    case log1p

    /// output = function(input) over `count` floats; operands `input, output`, which may be one slot.
    func prepare(count: Int) -> any PreparedKernel {
        var block = unsafe ck_vector_math_arguments()
        unsafe block.count = count
        unsafe block.function =
            switch self {
            case .exp: ck_function(CK_EXP)
            case .sigmoid: ck_function(CK_SIGMOID)
            case .tanh: ck_function(CK_TANH)
            case .erf: ck_function(CK_ERF)
            case .laneExp: ck_function(CK_EXP_LANES)
            case .log: ck_function(CK_LOG)
            case .log1p: ck_function(CK_LOG1P)
            }
        return unsafe KernelCall(
            "ck_vector_math", { unsafe ck_vector_math($0) }, block,
            [
                (.floats(count, .read), { unsafe $0.input = unsafe $1.constantFloats }),
                (.floats(count, .write), { unsafe $0.output = unsafe $1.floats }),
            ])
    }
}
