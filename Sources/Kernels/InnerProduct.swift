internal import COneDNN
public import Tensor

/// The extents of `y[batch, outputs] = x[batch, inputs] · weight[outputs, inputs]ᵀ + bias[outputs]`.
public struct InnerProductShape: Hashable, Sendable {
    public var batch: Int
    public var inputs: Int
    public var outputs: Int
    public var hasBias: Bool

    public init(batch: Int, inputs: Int, outputs: Int, hasBias: Bool = true) {
        self.batch = batch
        self.inputs = inputs
        self.outputs = outputs
        self.hasBias = hasBias
    }
}

/// The three passes of a fully connected layer; operand orders and element types as in `Convolution`.
public enum InnerProduct {
    /// output = input · weightᵀ + bias, followed by `fusing` in the same pass, or by `activation` in the same
    /// call.
    public static func forward(
        _ shape: InnerProductShape, element: ElementType = .float32, weights: TensorLayout? = nil,
        fusing: [PostOperation] = [], activation: LayerActivation? = nil, training: Bool = true,
        on engine: DNNEngine
    ) throws(KernelError) -> any LayerKernel {
        if let activation {
            return try ActivatedKernel.prepare(activation, batch: shape.batch, element, weights: weights) {
                batch, weights throws(KernelError) in
                var part = shape
                part.batch = batch
                return try forward(part, element: element, weights: weights, training: training, on: engine)
            }
        }
        return try engine.pass(element, weights: weights, .forward(hasBias: shape.hasBias)) {
            element, weights throws(KernelError) in
            try Primitive(
                { turn throws(KernelError) in
                    try forwardDescriptor(
                        shape, element, weights: weights, fusing: fusing, training: training, on: engine,
                        turn)
                },
                Primitive.forwardUses(fusing: fusing), on: engine)
        }
    }

    /// inputGradient = outputGradient · weight; over many rows it ignores `weights`.
    public static func backwardData(
        _ shape: InnerProductShape, element: ElementType = .float32, weights: TensorLayout? = nil,
        on engine: DNNEngine
    ) throws(KernelError) -> any LayerKernel {
        if shape.batch >= TallProduct.rowsMin {
            return try TallProduct.backwardData(shape, element, on: engine)
        }
        return try engine.pass(element, weights: weights, .backwardData) {
            element, weights throws(KernelError) in
            var operation = dnnl_inner_product_desc_t()
            var (source, weight, _, destination) = try layouts(shape, element, element, weights)
            try unsafe KernelError.check(
                dnnl_inner_product_backward_data_desc_init(&operation, &source, &weight, &destination),
                "describe the data gradient of a linear layer")
            return try Primitive(
                { turn throws(KernelError) in
                    try unsafe PrimitiveDescriptor.find(
                        &operation, "find the data gradient of a linear layer",
                        hint: forwardDescriptor(shape, element, training: true, on: engine, turn), on: engine,
                        turn)
                },
                Primitive.backwardDataUses, on: engine)
        }
    }

    /// weightGradient = outputGradientᵀ · input; biasGradient = column sums of outputGradient; likewise.
    public static func backwardWeights(
        _ shape: InnerProductShape, element: ElementType = .float32, weights: TensorLayout? = nil,
        on engine: DNNEngine
    ) throws(KernelError) -> any LayerKernel {
        if ThinProduct.suits(shape) { return try ThinProduct.backwardWeights(shape, element) }
        if let weights, let own = try TallGradient.gradients(shape, element, weights: weights) { return own }
        if shape.batch >= TallProduct.rowsMin,
            shape.inputs * shape.outputs >= TallProduct.weightsMin
        {
            return try TallProduct.backwardWeights(shape, element, on: engine)
        }
        if let weights, let own = try LinearGradient.gradients(shape, element, weights: weights) {
            return own
        }
        return try engine.pass(element, weights: weights, .backwardWeights) {
            element, weights throws(KernelError) in
            var operation = dnnl_inner_product_desc_t()
            var (source, weight, bias, destination) = try layouts(shape, element, .float32, weights)
            try unsafe KernelError.check(
                dnnl_inner_product_backward_weights_desc_init(
                    &operation, &source, &weight, &bias, &destination),
                "describe the weight gradient of a linear layer")
            return try Primitive(
                { turn throws(KernelError) in
                    try unsafe PrimitiveDescriptor.find(
                        &operation, "find the weight gradient of a linear layer",
                        hint: forwardDescriptor(shape, element, training: true, on: engine, turn), on: engine,
                        turn)
                },
                Primitive.backwardWeightsUses, on: engine)
        }
    }

    private static func forwardDescriptor(
        _ shape: InnerProductShape, _ element: ElementType, weights: TensorLayout? = nil,
        fusing: [PostOperation] = [], training: Bool, on engine: DNNEngine,
        _ turn: borrowing PrimitiveCache.Turn
    ) throws(KernelError) -> PrimitiveDescriptor {
        var operation = dnnl_inner_product_desc_t()
        var (source, weight, bias, destination) = try layouts(shape, element, element, weights)
        try unsafe KernelError.check(
            dnnl_inner_product_forward_desc_init(
                &operation, training ? dnnl_forward_training : dnnl_forward_inference, &source, &weight,
                &bias, &destination), "describe a linear layer")
        return try unsafe PrimitiveDescriptor.find(
            &operation, "find a linear layer", attributes: PrimitiveAttributes(fusing: fusing), on: engine,
            turn)
    }

    private typealias Descriptor = dnnl_memory_desc_t

    private static func layouts(
        _ shape: InnerProductShape, _ element: ElementType, _ weightElement: ElementType,
        _ weights: TensorLayout?
    ) throws(KernelError) -> (Descriptor, Descriptor, Descriptor, Descriptor) {
        let weight: TensorLayout
        if let weights {
            weight = weights
        } else {
            weight = try .any([shape.outputs, shape.inputs], element: weightElement)
        }
        return (
            try TensorLayout.rowMajor([shape.batch, shape.inputs], element: element).descriptor,
            weight.descriptor,
            (shape.hasBias ? try TensorLayout.rowMajor([shape.outputs]) : .absent).descriptor,
            try TensorLayout.rowMajor([shape.batch, shape.outputs], element: element).descriptor
        )
    }
}
