internal import JSON
public import Tensor

/// What a model has to know of the data that it is for.
public struct DataShape: Sendable, Hashable {
    /// What a sample is compared with.
    public enum Target: Sendable, Hashable {
        /// One of so many classes: the output must be `[classes]`.
        case classes(Int)
        /// The token that follows each: the output must be `[tokens, vocabulary]`.
        case tokens(vocabulary: Int)
        /// A class for each token: the output must be `[tokens, classes]`.
        case perToken(classes: Int)
    }

    /// One sample's extents: a model's input by default, and what a given input must agree with.
    ///
    /// nil where the model decides, as it does over a stream of tokens.
    public var input: Shape?
    /// Whether samples are tokens; nil where nothing is known of them.
    public var isTokens: Bool?
    /// How many tokens there are.
    public var vocabulary: Int?
    /// The token that short samples end in, which nothing shall see; nil where there is none.
    public var padding: Int?
    /// nil where any output will do.
    public var target: Target?

    /// The fields of a model that are missing only where nothing is known of the data.
    public static let fields: Set = [
        ModelFields.input.name, ModelFields.classes.name, ModelFields.vocabulary.name,
    ]

    /// Facts of a dataset; without any, the model says everything itself.
    public init(
        input: Shape? = nil, isTokens: Bool? = nil, vocabulary: Int? = nil, padding: Int? = nil,
        target: Target? = nil
    ) {
        self.input = input
        self.isTokens = isTokens
        self.vocabulary = vocabulary
        self.padding = padding
        self.target = target
    }

    /// Images, or rows of numbers, each of one class.
    public static func images(_ input: Shape?, classes: Int?) -> DataShape {
        DataShape(
            input: input, isTokens: input == nil ? nil : false, target: classes.map(Target.classes))
    }

    /// A stream of tokens, each the target of those before it.
    public static func text(vocabulary: Int) -> DataShape {
        DataShape(isTokens: true, vocabulary: vocabulary, target: .tokens(vocabulary: vocabulary))
    }

    /// Classes of a sample or of each of its tokens.
    var classes: Int? {
        switch target {
        case .classes(let count), .perToken(let count): count
        case .tokens, nil: nil
        }
    }
}
