internal import JSON
internal import Tensor

/// Models by name.
public enum Preset: String, CaseIterable, Sendable {
    /// One linear layer on the flattened input.
    case linear
    /// Linear layers with ReLU between them.
    case mlp
    /// LeCun's 300-100 (1998), the pruning literature's small net.
    case lenet300100 = "lenet_300_100"
    /// LeNet-5 with the widths of Caffe's: 20 and 50 5x5 filters, 500 units, and a ReLU behind each.
    ///
    /// The pruning literature trains it so; Caffe's own has only the last ReLU. ReLU and max-pooling commute:
    /// behind the pooling it has a quarter of the work.
    case lenet5Caffe = "lenet5_caffe"
    /// Thirteen depthwise-separable convolutions (Howard et al., 2017). Images below 64 pixels keep their
    /// extents in the first layer.
    case mobilenetV1 = "mobilenet_v1"
    /// MLPerf Tiny's: three residual blocks of 16, 32 and 64 channels.
    case resnet8
    /// He et al. (2015) for large images. Those below 64 pixels get a 3x3 first layer and no pooling.
    case resnet18
    /// He et al. (2015) for CIFAR: nine blocks of 16, 32 and 64 channels, 1x1 convolutions on the ways round
    /// where the shape changes (their option B).
    case resnet20
    /// The small keyword-spotting net of Zhang et al. (2017), over 49x10 coefficients.
    case dsCNN = "ds_cnn"
    /// A 3x3 convolution of 32 channels and five depthwise-separable blocks of 64, 128, 128, 256 and 256, the
    /// second and fourth at half the extents.
    case separable5
    /// The same blocks of one 3x3 convolution each.
    case standard5
    /// GPT-2's decoder; by default nanoGPT's small one.
    case gpt
    /// A BERT-like encoder: blocks with norms behind the sums, the mean over the tokens, a linear layer.
    ///
    /// Every token counts, padding too.
    case bert
    /// DeiT-tiny's vision transformer: patches, a class token, learned positions.
    case vitTiny = "vit_tiny"

    /// Whether its input is tokens.
    var readsTokens: Bool { self == .gpt || self == .bert }

    /// Reads the preset's own fields and spells its layers out; nil after a violation.
    func layers(_ reader: inout ObjectReader, input: Shape?, data: DataShape) -> [LayerSpec]? {
        let before = reader.log.violations.count
        guard self != .gpt else { return gpt(&reader, data) }
        let classes = reader.read(ModelFields.classes) ?? data.classes
        let layers = layers(&reader, classes: classes ?? 1, input: input, data: data)
        if classes == nil {
            reader.log.add(reader.pointer(to: "classes"), "missing_field", "\"classes\" is required")
        }
        return reader.log.violations.count == before && !reader.log.isFull ? layers : nil
    }

    private func layers(
        _ reader: inout ObjectReader, classes: Int, input: Shape?, data: DataShape
    ) -> [LayerSpec] {
        let isSmall = input.map { $0.rank != 3 || min($0[1], $0[2]) < 64 } ?? false
        switch self {
        case .linear: return Self.perceptron([], classes, 0)
        case .mlp:
            let hidden = reader.read(ModelFields.hidden)
            return Self.perceptron(hidden, classes, reader.read(ModelFields.dropout))
        case .lenet300100: return Self.perceptron([300, 100], classes, reader.read(ModelFields.dropout))
        case .lenet5Caffe: return Self.lenet5(classes, reader.read(ModelFields.dropout))
        case .mobilenetV1:
            return Self.mobilenet(reader.read(ModelFields.widthFactor), classes, isSmall: isSmall)
        case .resnet8: return Self.smallResnet(blocksEach: 1, classes)
        case .resnet18: return Self.resnet18(classes, isSmall: isSmall)
        case .resnet20: return Self.smallResnet(blocksEach: 3, classes)
        case .dsCNN: return Self.dsCNN(classes)
        case .separable5: return Self.fiveBlocks(classes, isSeparable: true)
        case .standard5: return Self.fiveBlocks(classes, isSeparable: false)
        case .gpt: return []
        case .bert: return bert(&reader, data, classes)
        case .vitTiny: return visionTransformer(&reader, input, isSmall: isSmall, classes)
        }
    }

    private static func perceptron(_ hidden: [Int], _ classes: Int, _ dropout: Double) -> [LayerSpec] {
        var layers = [LayerSpec(.flatten, name: "flatten1")]
        for (index, width) in hidden.enumerated() {
            layers.append(LayerSpec(.linear(.init(outFeatures: width)), name: "fc\(index + 1)"))
            layers.append(LayerSpec(.relu, name: "relu\(index + 1)"))
            if dropout > 0 { layers.append(LayerSpec(.dropout(dropout), name: "dropout\(index + 1)")) }
        }
        layers.append(LayerSpec(.linear(.init(outFeatures: classes)), name: "fc\(hidden.count + 1)"))
        return layers
    }

    private static func lenet5(_ classes: Int, _ dropout: Double) -> [LayerSpec] {
        let pool = LayerKind.maxPool2d(.init(kernelSize: Pair(2, 2)))
        var layers = [
            LayerSpec(.conv2d(.init(outChannels: 20, kernelSize: Pair(5, 5))), name: "conv1"),
            LayerSpec(pool, name: "pool1"), LayerSpec(.relu, name: "relu1"),
            LayerSpec(.conv2d(.init(outChannels: 50, kernelSize: Pair(5, 5))), name: "conv2"),
            LayerSpec(pool, name: "pool2"), LayerSpec(.relu, name: "relu2"),
            LayerSpec(.flatten, name: "flatten1"), LayerSpec(.linear(.init(outFeatures: 500)), name: "fc1"),
            LayerSpec(.relu, name: "relu3"),
        ]
        if dropout > 0 { layers.append(LayerSpec(.dropout(dropout), name: "dropout1")) }
        layers.append(LayerSpec(.linear(.init(outFeatures: classes)), name: "fc2"))
        return layers
    }
}
