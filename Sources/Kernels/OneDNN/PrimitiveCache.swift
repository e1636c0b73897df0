internal import COneDNN

/// oneDNN's cache of compiled primitives, shared by the whole process.
public enum PrimitiveCache {
    /// Primitives that are kept; a job of a few dozen layers resumes without compiling any anew.
    ///
    /// oneDNN keeps 1,024 by default: planning thousands of models left a server at 450 MB.
    public static let capacity = 64

    /// Sets the capacity; call it once, before the first plan.
    public static func limit() throws(KernelError) {
        try KernelError.check(dnnl_set_primitive_cache_capacity(Int32(capacity)), "limit the primitive cache")
    }
}
