internal import CKernels
internal import Tensor

/// A call of one of our C kernels with its argument block.
@safe final class KernelCall<Arguments>: PreparedKernel {
    typealias Function = (UnsafePointer<Arguments>) -> Void
    typealias Binder = (inout Arguments, UnsafeMutableRawPointer) -> Void

    let implementation: String
    let operands: [Operand]
    private let function: Function
    private let binders: [Binder]
    private let arguments: UnsafeMutablePointer<Arguments>

    /// Binds a function to its block; `bindings` say how each operand's address enters it.
    init(
        _ implementation: String, _ function: @escaping Function, _ block: Arguments,
        _ bindings: [(Operand, Binder)]
    ) {
        self.implementation = implementation
        unsafe self.function = function
        operands = unsafe bindings.map { unsafe $0.0 }
        unsafe binders = bindings.map { unsafe $0.1 }
        unsafe arguments = UnsafeMutablePointer<Arguments>.allocate(capacity: 1)
        unsafe arguments.initialize(to: block)
    }

    deinit {
        unsafe arguments.deinitialize(count: 1)
        unsafe arguments.deallocate()
    }

    func bind(_ operand: Int, to address: UnsafeMutableRawPointer) throws(KernelError) {
        unsafe binders[operand](&arguments.pointee, address)
    }

    func run() throws(KernelError) { unsafe function(arguments) }
}

extension UnsafeMutableRawPointer {
    var floats: UnsafeMutablePointer<Float> { unsafe assumingMemoryBound(to: Float.self) }
    var constantFloats: UnsafePointer<Float> { unsafe UnsafePointer(floats) }
    var mask: UnsafePointer<UInt8> { unsafe UnsafePointer(assumingMemoryBound(to: UInt8.self)) }
    var integers: UnsafeMutablePointer<Int32> { unsafe assumingMemoryBound(to: Int32.self) }
}

extension ElementType {
    /// The C kernels' name of an activation's element type.
    var kernelElement: ck_element { self == .bfloat16 ? ck_element(CK_BFLOAT16) : ck_element(CK_FLOAT32) }
}
