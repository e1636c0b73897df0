internal import CKernels

/// The process's heap.
public enum Heap {
    /// Gives what was freed back to the system: glibc keeps it for later otherwise.
    public static func trim() { ck_return_memory() }
}
