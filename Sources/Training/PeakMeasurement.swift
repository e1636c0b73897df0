internal import Kernels
public import Plan
internal import Tensor

/// The machine's matrix-product rate, against which a job's share is reported.
public enum PeakMeasurement {
    /// Runs a 1024 x 1024 x 1024 float32 product on the calling thread's team for a few dozen milliseconds.
    ///
    /// - Parameter now: A monotonic clock in nanoseconds.
    /// - Returns: The best of several runs, in FLOP/s (two for each multiply-accumulate).
    /// - Throws: `PlanError` when oneDNN cannot run the product.
    public static func flopsPerSecond(now: () -> UInt64) throws(PlanError) -> Double {
        let width = 1024
        do throws(KernelError) {
            let engine = try DNNEngine()
            let product = try InnerProduct.forward(
                InnerProductShape(batch: width, inputs: width, outputs: width, hasBias: false), on: engine)
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
            for _ in 0..<8 {
                let start = now()
                try product.run()
                best = min(best, now() - start)
            }
            return 2 * Double(width * width * width) / (Double(max(best, 1)) * 1e-9)
        } catch { throw .kernel(error) }
    }
}
