import Kernels
import Tensor
import TestSupport
import Testing

@Suite("Activations in the call of a layer") struct ActivatedKernelTests {
    /// A layer's forward pass with and without an activation.
    enum Layer: CaseIterable, Sendable {
        case product, direct, tiled, winograd, depthwise, transposed

        /// Large enough for several slices on one and on two threads, of unlike size.
        static let large: [Layer] = [.product, .direct, .depthwise, .transposed]

        func kernel(
            _ batch: Int, _ element: ElementType, _ activation: LayerActivation?, weights: TensorLayout?
        ) throws -> any LayerKernel {
            let engine = try DNNEngine()
            func convolution(_ shape: ConvolutionShape) throws -> any LayerKernel {
                try Convolution.forward(
                    shape, element: element, weights: weights, activation: activation, on: engine)
            }
            switch self {
            case .product:
                let shape = InnerProductShape(batch: 96 * batch, inputs: 24, outputs: 72)
                return try InnerProduct.forward(
                    shape, element: element, weights: weights, activation: activation, on: engine)
            case .direct:
                return try convolution(.of(batch: 4 * batch, 5, (18, 18), to: 24, stride: (2, 2)))
            case .tiled:
                return try convolution(.of(batch: 4 * batch, 34, (15, 17), to: 37, padding: (1, 1)))
            case .winograd:
                return try convolution(.of(batch: 2 * batch, 96, (16, 16), to: 192, padding: (1, 1)))
            case .depthwise: return try convolution(.depthwise(batch: batch, 40, (16, 15)))
            case .transposed:
                let settings = ConvolutionShape.of(batch: batch, 16, (9, 8), to: 20, stride: (2, 2))
                return try TransposedConvolution.forward(
                    TransposedConvolutionShape(settings), element: element, weights: weights,
                    activation: activation, on: engine)
            }
        }
    }

    /// What comes of the plain pass, and of what is kept of it, by the definitions in double precision.
    private static func check(
        _ layer: Layer, _ kind: ActivationKind, _ element: ElementType, batch: Int, isTraining: Bool = true
    ) throws -> any LayerKernel {
        let activation = LayerActivation(kind, training: isTraining)
        let plain = try layer.kernel(batch, element, nil, weights: nil)
        let fused = try layer.kernel(batch, element, activation, weights: plain.layouts[1])
        #expect(fused.layouts[1] == plain.layouts[1])
        func count(_ operand: Int) -> Int { plain.layouts[operand].paddedCount }
        let input = rounded(randomFloats(count(0), seed: 1, low: -2, high: 2), to: element)
        let isWide = plain.layouts[1].element == .float32
        let weights = randomFloats(count(1), seed: 2, low: -0.7, high: 0.7)
        let given = [
            stored(input, as: element),
            isWide ? .floats(weights) : stored(rounded(weights, to: element), as: element),
            .floats(randomFloats(count(2), seed: 3)),
        ]
        let inputs = try KernelRun(plain, given).values(3, as: element)
        let run = try KernelRun(fused, given)
        // A tile's activation takes the number that is rounded to `inputs`, a slice may sum in another order.
        let rounding = roundingError(of: element) + 32 * epsilon
        let outputs = inputs.map { Float(kind.exact(Double($0))) }
        expectClose(
            run.values(3, as: element), outputs,
            within: zip(inputs, outputs).map {
                kind.bound($0, $1, as: element) + 1.2 * rounding * max(abs($0), 1)
            }, "output")
        #expect(bits(try KernelRun(fused, given).values(3, as: element)) == bits(run.values(3, as: element)))
        let scratch = fused.scratchpad == nil ? 0 : 1
        #expect(fused.operands.count == (activation.kept == .nothing ? 4 : 5) + scratch)
        switch activation.kept {
        case .nothing: break
        case .input:
            expectClose(
                run.values(4, as: element), inputs, within: inputs.map { rounding * max(abs($0), 1) }, "kept")
        case .derivative:
            // Slopes of smooth kinds change by at most 0.8 for every 1 of their input.
            let slopes = inputs.map { Float(kind.exactSlope(Double($0))) }
            expectClose(
                run.values(4, as: element), slopes,
                within: zip(inputs, slopes).map {
                    0.8 * rounding * max(abs($0), 1) + (rounding + 0x1p-11) * abs($1) + 0x1p-11
                }, "derivative")
        }
        return fused
    }

    @Test("make the same of every layer, and keep what its gradient takes", arguments: Layer.allCases)
    func layers(layer: Layer) throws {
        ThreadTeam.use(2)
        for element in activationElements {
            for kind in ActivationKind.all {
                let kernel = try Self.check(layer, kind, element, batch: 3)
                #expect(kernel.implementation.contains("+ ck_activation"))
            }
        }
    }

    @Test("cut a batch into slices that lie in the caches", arguments: Layer.large)
    func slices(layer: Layer) throws {
        for threads in 1...2 {
            ThreadTeam.use(threads)
            for kind in [ActivationKind.relu6, .hardSwish, .sigmoid] {
                let kernel = try Self.check(layer, kind, .float32, batch: 115)
                #expect(kernel.implementation.contains("slices"))
            }
        }
    }

    @Test("keep nothing for inference") func inference() throws {
        _ = try Self.check(.transposed, .hardSwish, .float32, batch: 2, isTraining: false)
        _ = try Self.check(.tiled, .geluErf, .bfloat16, batch: 2, isTraining: false)
    }
}
