internal import COneDNN

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

/// The three passes of a fully connected layer; operand orders as in `Convolution`.
public enum InnerProduct {
    /// output = input · weightᵀ + bias, with a ReLU in the same pass when asked.
    public static func forward(
        _ shape: InnerProductShape, weights: TensorLayout? = nil, relu: Bool = false, training: Bool = true,
        on engine: DNNEngine
    ) throws(KernelError) -> Primitive {
        try Primitive(
            forwardDescriptor(shape, weights: weights, relu: relu, training: training, on: engine),
            Primitive.forwardUses, on: engine)
    }

    /// inputGradient = outputGradient · weight.
    public static func backwardData(
        _ shape: InnerProductShape, weights: TensorLayout? = nil, on engine: DNNEngine
    ) throws(KernelError) -> Primitive {
        let hint = try forwardDescriptor(shape, weights: nil, relu: false, training: true, on: engine)
        var operation = dnnl_inner_product_desc_t()
        var (source, weight, _, destination) = try layouts(shape, weights)
        try unsafe KernelError.check(
            dnnl_inner_product_backward_data_desc_init(&operation, &source, &weight, &destination),
            "describe the data gradient of a linear layer")
        let descriptor = try unsafe PrimitiveDescriptor.find(
            &operation, "find the data gradient of a linear layer", hint: hint, on: engine)
        return try Primitive(descriptor, Primitive.backwardDataUses, on: engine)
    }

    /// weightGradient = outputGradientᵀ · input; biasGradient = column sums of outputGradient.
    public static func backwardWeights(
        _ shape: InnerProductShape, weights: TensorLayout? = nil, on engine: DNNEngine
    ) throws(KernelError) -> Primitive {
        let hint = try forwardDescriptor(shape, weights: nil, relu: false, training: true, on: engine)
        var operation = dnnl_inner_product_desc_t()
        var (source, weight, bias, destination) = try layouts(shape, weights)
        try unsafe KernelError.check(
            dnnl_inner_product_backward_weights_desc_init(&operation, &source, &weight, &bias, &destination),
            "describe the weight gradient of a linear layer")
        let descriptor = try unsafe PrimitiveDescriptor.find(
            &operation, "find the weight gradient of a linear layer", hint: hint, on: engine)
        return try Primitive(
            descriptor,
            Primitive.backwardWeightsUses, on: engine)
    }

    private static func forwardDescriptor(
        _ shape: InnerProductShape, weights: TensorLayout?, relu: Bool, training: Bool, on engine: DNNEngine
    ) throws(KernelError) -> PrimitiveDescriptor {
        var operation = dnnl_inner_product_desc_t()
        var (source, weight, bias, destination) = try layouts(shape, weights)
        try unsafe KernelError.check(
            dnnl_inner_product_forward_desc_init(
                &operation, training ? dnnl_forward_training : dnnl_forward_inference, &source, &weight,
                &bias, &destination), "describe a linear layer")
        return try unsafe PrimitiveDescriptor.find(
            &operation, "find a linear layer", attributes: PrimitiveAttributes(relu: relu), on: engine)
    }

    private typealias Descriptor = dnnl_memory_desc_t

    private static func layouts(
        _ shape: InnerProductShape, _ weights: TensorLayout?
    ) throws(KernelError) -> (Descriptor, Descriptor, Descriptor, Descriptor) {
        let weight: TensorLayout
        if let weights { weight = weights } else { weight = try .any([shape.outputs, shape.inputs]) }
        return (
            try TensorLayout.rowMajor([shape.batch, shape.inputs]).descriptor, weight.descriptor,
            (shape.hasBias ? try TensorLayout.rowMajor([shape.outputs]) : .absent).descriptor,
            try TensorLayout.rowMajor([shape.batch, shape.outputs]).descriptor
        )
    }
}
