public import Kernels

/// A graph that cannot be lowered or run.
public enum PlanError: Error, CustomStringConvertible {
    /// Its memory cannot be counted in 63 bits.
    case tooLarge
    case kernel(KernelError)
    case noMemory(byteCount: Int)
    /// Layers in bytes that are not those of the graph.
    case badQuantization(String)

    public var description: String {
        switch self {
        case .tooLarge: "The plan needs more memory than can be addressed."
        case .kernel(let error): error.description
        case .noMemory(let byteCount): "The system refused \(byteCount) bytes for the plan."
        case .badQuantization(let reason): "The quantisation does not fit the model: \(reason)."
        }
    }
}

/// Runs kernel code and wraps what it throws.
func kernels<R>(_ body: () throws(KernelError) -> R) throws(PlanError) -> R {
    do { return try body() } catch { throw .kernel(error) }
}
