/// The memory of the code that kernels run, which counts as the process's once it has run.
public enum EngineCode {
    /// Pages of oneDNN, the C library and our own kernels that a step reads and making it has not: 1.5 to
    /// 1.7 MB for two perceptrons, 1.7 for a transformer besides its product's.
    private static let pagesByteCount = 1_500_000
    /// oneDNN's general product compiles its kernels, one for each way of transposing and copying, when it
    /// first runs: 3.4 MB, and 1.3 MB of pages of the compiler.
    private static let productByteCount = 4_700_000

    /// Bytes that the first run of these implementations brings into memory.
    public static func byteCount(of implementations: some Sequence<String>) -> Int {
        var (isUsed, hasProduct) = (false, false)
        for name in implementations {
            isUsed = true
            if name.hasSuffix("gemm:jit") { hasProduct = true }
        }
        return (isUsed ? pagesByteCount : 0) + (hasProduct ? productByteCount : 0)
    }
}
