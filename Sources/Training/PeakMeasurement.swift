internal import Kernels
public import Plan
public import Tensor

/// The machine's matrix-product rate, against which a job's share is reported.
public enum PeakMeasurement {
    /// Runs a 1024 x 1024 x 1024 product on the calling thread's team for a few dozen milliseconds.
    ///
    /// - Parameters:
    ///   - element: What the operands are stored as; sums are float32.
    ///   - now: A monotonic clock in nanoseconds.
    /// - Returns: The best of several runs, in FLOP/s (two for each multiply-accumulate).
    /// - Throws: `PlanError` when oneDNN cannot run the product.
    public static func flopsPerSecond(
        _ element: ElementType = .float32, now: () -> UInt64
    ) throws(PlanError) -> Double {
        let width = 1024
        do throws(KernelError) {
            let engine = try DNNEngine()
            let product = try InnerProduct.forward(
                InnerProductShape(batch: width, inputs: width, outputs: width, hasBias: false),
                element: element, on: engine)
            var slots: [Slot] = []
            var end = 0
            for operand in product.operands {
                slots.append(Slot(offset: end, byteCount: operand.byteCount))
                end += (operand.byteCount + Arena.alignment - 1) / Arena.alignment * Arena.alignment
            }
            guard let arena = try? Arena(byteCount: end) else {
                throw KernelError(action: "measure", reason: "no memory")
            }
            for (index, slot) in slots.enumerated() { try product.bind(index, to: slot, in: arena) }
            var best = UInt64.max
            for _ in 0..<16 {
                let start = now()
                try product.run()
                best = min(best, now() - start)
            }
            return 2 * Double(width * width * width) / (Double(max(best, 1)) * 1e-9)
        } catch { throw .kernel(error) }
    }
}
