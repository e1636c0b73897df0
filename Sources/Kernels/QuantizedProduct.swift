internal import COneDNN
public import Tensor

/// Convolutions and products of bytes: activations as unsigned codes, weights as signed ones.
///
/// sum = Σ code · weight over int32, result = (float(sum) + float(bias)) · scale of the output channel, then
/// what is fused, all in float32; a result that is stored as codes is rounded to the nearest, the even one
/// of two, and saturates. Padding is code 0: where zero has another one the source has to be padded before.
/// What the activations' zero point adds, zeroPoint · Σ weight, belongs to the bias.
///
/// Operands: `source (uint8), weights (int8), bias (int32), destination (uint8 or float32)`, then the
/// scratchpad, if any. The order of the sum decides nothing: results are the same on every machine, as long
/// as no sum leaves int32 (`termsMax`) and, without VNNI, codes stay below 128.
public enum QuantizedProduct {
    /// Products that one sum may have: with the zero point's share they stay in 32 bits.
    public static let termsMax = 32_768

    /// What happens to the sums.
    public struct Epilogue: Hashable, Sendable {
        /// One for each output channel.
        public var scales: [Float]
        public var fusing: [PostOperation]
        /// Codes, or float32.
        public var element: ElementType

        public init(scales: [Float], fusing: [PostOperation] = [], element: ElementType) {
            (self.scales, self.fusing, self.element) = (scales, fusing, element)
        }

        fileprivate var attributes: PrimitiveAttributes {
            PrimitiveAttributes(fusing: fusing, outputScales: scales)
        }
    }

    /// A convolution; the shape must have a bias.
    public static func convolution(
        _ shape: ConvolutionShape, _ epilogue: Epilogue, on engine: DNNEngine
    ) throws(KernelError) -> Primitive {
        precondition(epilogue.scales.count == shape.outChannels && shape.hasBias, "a convolution of bytes")
        var operation = dnnl_convolution_desc_t()
        var source = try shape.sourceLayout(.uint8).descriptor
        var weight = try TensorLayout.any(shape.weightExtents, element: .int8).descriptor
        var bias = try TensorLayout.rowMajor([shape.outChannels], element: .int32).descriptor
        var destination = try shape.destinationLayout(epilogue.element).descriptor
        let geometry = ConvolutionGeometry(shape)
        try unsafe KernelError.check(
            dnnl_dilated_convolution_forward_desc_init(
                &operation, dnnl_forward_inference, dnnl_convolution_direct, &source, &weight, &bias,
                &destination, geometry.strides, geometry.dilations, geometry.padding, geometry.padding),
            "describe a convolution of bytes")
        return try Primitive(
            { turn throws(KernelError) in
                try unsafe PrimitiveDescriptor.find(
                    &operation, "find a convolution of bytes", attributes: epilogue.attributes, on: engine,
                    turn)
            },
            Primitive.forwardUses(fusing: epilogue.fusing), on: engine)
    }

    /// A fully connected layer; the shape must have a bias.
    public static func linear(
        _ shape: InnerProductShape, _ epilogue: Epilogue, on engine: DNNEngine
    ) throws(KernelError) -> Primitive {
        precondition(epilogue.scales.count == shape.outputs && shape.hasBias, "a product of bytes")
        var operation = dnnl_inner_product_desc_t()
        var source = try TensorLayout.rowMajor([shape.batch, shape.inputs], element: .uint8).descriptor
        var weight = try TensorLayout.any([shape.outputs, shape.inputs], element: .int8).descriptor
        var bias = try TensorLayout.rowMajor([shape.outputs], element: .int32).descriptor
        var destination = try TensorLayout.rowMajor(
            [shape.batch, shape.outputs], element: epilogue.element
        ).descriptor
        try unsafe KernelError.check(
            dnnl_inner_product_forward_desc_init(
                &operation, dnnl_forward_inference, &source, &weight, &bias, &destination),
            "describe a product of bytes")
        return try Primitive(
            { turn throws(KernelError) in
                try unsafe PrimitiveDescriptor.find(
                    &operation, "find a product of bytes", attributes: epilogue.attributes, on: engine, turn)
            },
            Primitive.forwardUses(fusing: epilogue.fusing), on: engine)
    }

    /// Brings codes of weights into the layout that a kernel takes, in memory of their own.
    ///
    /// Each step copies from one layout to another; the next may see the same bytes as a tensor of other
    /// extents.
    public static func packed(
        _ codes: [Int8], by steps: [(from: TensorLayout, to: TensorLayout)], on engine: DNNEngine
    ) throws(KernelError) -> (arena: Arena, byteCount: Int) {
        var byteCount = codes.count
        var current = try arena(byteCount)
        current.write(codes, to: Slot(offset: 0, byteCount: byteCount))
        for (from, to) in steps where from != to {
            let reorder = try Reorder.prepare(from: from, to: to, on: engine)
            let next = try arena(to.byteCount)
            try reorder.bind(0, to: Slot(offset: 0, byteCount: from.byteCount), in: current)
            try reorder.bind(1, to: Slot(offset: 0, byteCount: to.byteCount), in: next)
            if let scratchpad = reorder.scratchpad {
                let byteCount = reorder.operands[scratchpad].byteCount
                let memory = try arena(byteCount)
                try reorder.bind(scratchpad, to: Slot(offset: 0, byteCount: byteCount), in: memory)
            }
            try reorder.run()
            (current, byteCount) = (next, to.byteCount)
        }
        return (current, byteCount)
    }

    private static func arena(_ byteCount: Int) throws(KernelError) -> Arena {
        do { return try Arena(byteCount: byteCount) } catch {
            throw KernelError(action: "pack weights", reason: error.description)
        }
    }
}
