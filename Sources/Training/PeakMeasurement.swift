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

    /// Working sets whose rate is measured: two in caches, one in memory.
    static let workingSets = [384 << 10, 3 << 20, 96 << 20]

    /// Measures all of a machine's limits on the calling thread's team, in about a quarter of a second.
    ///
    /// - Parameters:
    ///   - element: What the product's operands are stored as.
    ///   - now: A monotonic clock in nanoseconds.
    /// - Returns: The best of several runs of each.
    /// - Throws: `PlanError` when a loop cannot run.
    public static func roofline(
        _ element: ElementType = .float32, now: () -> UInt64
    ) throws(PlanError) -> Roofline {
        let flops = try flopsPerSecond(element, now: now)
        // The smallest call that is worth the whole team, and one twice as large: what both cost besides.
        let small = 3 * 4 * 16_384
        let once = try triadSeconds(byteCount: small, now: now)
        let twice = try triadSeconds(byteCount: 2 * small, now: now)
        let call = max(2 * once - twice, 1e-7)
        var bandwidths: [Roofline.Bandwidth] = []
        for byteCount in workingSets {
            let seconds = max(try triadSeconds(byteCount: byteCount, now: now) - call, 1e-9)
            bandwidths.append(.init(byteCount: byteCount, bytesPerSecond: Double(byteCount) / seconds))
        }
        return Roofline(flopsPerSecond: flops, bandwidths: bandwidths, secondsPerCall: call)
    }

    /// Seconds of `output = left + 3 * right` over three arrays that take `byteCount` together.
    private static func triadSeconds(byteCount: Int, now: () -> UInt64) throws(PlanError) -> Double {
        let count = byteCount / 3 / MemoryLayout<Float>.stride / 16 * 16
        let kernel = Triad.prepare(count: count)
        let arena: Arena
        do { arena = try Arena(byteCount: byteCount) } catch { throw .noMemory(byteCount: byteCount) }
        let each = count * MemoryLayout<Float>.stride
        do throws(KernelError) {
            for operand in 0..<3 {
                let slot = Slot(offset: operand * each, byteCount: each)
                try kernel.bind(operand, to: slot, in: arena)
            }
            var best = UInt64.max
            for _ in 0..<max(8, (16 << 20) / byteCount) {
                let start = now()
                try kernel.run()
                best = min(best, now() - start)
            }
            return Double(max(best, 1)) * 1e-9
        } catch { throw .kernel(error) }
    }
}
