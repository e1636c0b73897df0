internal import COneDNN
internal import Synchronization

/// oneDNN's cache of compiled primitives, shared by the whole process.
public enum PrimitiveCache {
    /// Primitives that are kept; a job of a few dozen layers resumes without compiling any anew.
    ///
    /// oneDNN keeps 1,024 by default: planning thousands of models left a server at 450 MB.
    public static let capacity = 64

    /// A thread's turn: what only one thread at a time may do asks for it.
    ///
    /// oneDNN 2.6.3 keeps in a global variable, while it finds a convolution, how many channels lie side by
    /// side in the weights (`last_ic_block_size`: 1 in float32, 2 in bfloat16, 4 in bytes). Where another
    /// thread finds one of another type meanwhile, the kernel takes its taps' weights from wrong places.
    struct Turn: ~Copyable {
        fileprivate init() {}
    }

    private static let turn = Mutex(())

    /// Sets the capacity; call it once, before the first plan.
    public static func limit(to capacity: Int = capacity) throws(KernelError) {
        try KernelError.check(
            dnnl_set_primitive_cache_capacity(Int32(clamping: capacity)), "limit the primitive cache")
    }

    /// Finds an implementation and makes its primitive, while no other thread does so.
    ///
    /// oneDNN 2.6.3 takes a descriptor from the primitive in its cache, if there is one. That descriptor
    /// points to attributes which went with the first descriptor of its kind; nothing reads them as long as
    /// the primitive comes from the cache too. If another thread's primitives push it out in between, it is
    /// compiled anew, by what lies where the attributes were: it computes something else, for everyone who
    /// gets it from the cache from then on, or brings the process down.
    static func making(
        _ find: (borrowing Turn) throws(KernelError) -> PrimitiveDescriptor
    ) throws(KernelError) -> (PrimitiveDescriptor, CompiledPrimitive) {
        var made: (PrimitiveDescriptor, CompiledPrimitive)?
        try turn.withLock { _ throws(KernelError) in
            let descriptor = try find(Turn())
            made = (descriptor, try CompiledPrimitive(descriptor))
        }
        guard let made else { preconditionFailure("neither made nor refused") }
        return made
    }
}

/// oneDNN's object of a primitive, shared with its cache.
@safe final class CompiledPrimitive {
    let handle: dnnl_primitive_t

    fileprivate init(_ descriptor: PrimitiveDescriptor) throws(KernelError) {
        let action = "create \(descriptor.implementation)"
        var handle: dnnl_primitive_t?
        try unsafe KernelError.check(dnnl_primitive_create(&handle, descriptor.handle), action)
        guard let handle = unsafe handle else { throw KernelError(action: action, reason: "no primitive") }
        unsafe self.handle = unsafe handle
    }

    deinit { unsafe _ = dnnl_primitive_destroy(handle) }
}
