import Formats

/// Which tensors of a model are quantized, and how.
///
/// Rules are tried in order, and the first that matches a tensor decides; what no rule matches is
/// kept as it is. Buffers are never quantized, whatever the rules say.
///
/// ```swift
/// let attention = try RecipeRule(match: [NameGlob("*.attn.*.weight")], action: .quantize(.init()))
/// let recipe = Recipe(name: "attention", defaults: .init(bitWidth: 3), rules: [attention])
/// let archive = try FormatRegistry.standard.open("model.pth")
/// try Compressor(archive, recipe: recipe).write(to: "model.condi")
/// ```
public struct Recipe: Hashable, Sendable {
  /// The name of a built-in recipe, or the one that the recipe's author gave it.
  public var name: String
  /// What rules that quantize leave open.
  public var defaults: QuantizationSettings
  /// Which tensors are quantized: the first rule that matches a tensor decides.
  public var rules: [RecipeRule]
  /// How the model is quantized as a whole; `nil` where each weight is rounded to nearest on its own
  /// and activations stay in full precision.
  public var method: MethodSettings?
  /// What bit widths are chosen for; `nil` where rules and defaults fix them.
  public var budget: SizeBudget?
  /// Names of tensors that are no parameters but derived from the model's configuration or its
  /// training: indices, masks, running statistics. Tensors that are not floating point are buffers
  /// under any name.
  public var buffers: [NameGlob]
  /// Names of relative-position tables, parameters that the papers leave out of their ratios.
  public var positionTables: [NameGlob]
  /// Whether a rule's pattern may match no tensor at all. Built-in recipes allow it, because they
  /// serve many models; in a recipe for one model it is a mistake.
  public var allowsUnmatchedPatterns: Bool

  public init(
    name: String, defaults: QuantizationSettings = QuantizationSettings(), rules: [RecipeRule],
    buffers: [NameGlob] = Recipe.conventionalBuffers,
    positionTables: [NameGlob] = Recipe.conventionalPositionTables,
    allowsUnmatchedPatterns: Bool = false, method: MethodSettings? = nil,
    budget: SizeBudget? = nil
  ) {
    self.method = method
    self.budget = budget
    self.name = name
    self.defaults = defaults
    self.rules = rules
    self.buffers = buffers
    self.positionTables = positionTables
    self.allowsUnmatchedPatterns = allowsUnmatchedPatterns
  }

  /// What becomes of a tensor.
  enum Decision: Hashable, Sendable {
    case quantize(QuantizationSettings)
    case keep(reason: String)
  }

  /// What the first rule that matches makes of a tensor.
  ///
  /// Buffers are for the caller to leave out.
  func decision(on subject: RecipeSubject) -> Decision {
    guard let index = rules.firstIndex(where: { $0.matches(subject) }) else {
      return .keep(reason: "no rule of the recipe matches it")
    }
    return switch rules[index].action {
    case .quantize(let overrides): .quantize(overrides.applied(to: defaults))
    case .keep: .keep(reason: rules[index].reason ?? "rule \(index + 1) of the recipe keeps it")
    }
  }
}

/// A tensor as rules see it: what is known of it from its model's index.
struct RecipeSubject: Hashable, Sendable {
  let name: String
  let elementType: ElementType
  let shape: Shape
  /// Whether a bias goes with it, as with linear layers and convolutions, but not with tables.
  var hasBias = false
  /// Whether it is a convolution that puts out the colours of pixels.
  var makesPixels = false
  /// Whether it lies in a model most of whose weights are convolutions.
  var isInConvolutionalModel = false
}

/// How a tensor is quantized.
///
/// ```swift
/// var recipe = try Recipe.named("body")
/// recipe.defaults = QuantizationSettings(
///   bitWidth: 3, granularity: .group(64), parameterType: .float16)
/// let archive = try FormatRegistry.standard.open("model.pth")
/// try Compressor(archive, recipe: recipe).write(to: "model.condi")
/// ```
public struct QuantizationSettings: Hashable, Sendable {
  /// Bits of a code, 1 to 8.
  public var bitWidth: Int
  /// How many elements share one lower bound and one scale.
  public var granularity: QuantizationGranularity
  /// How bounds are found.
  public var search: BoundSearchMethod
  /// How lower bounds and scales are stored.
  public var parameterType: QuantizationParameterType
  /// Matrices stacked along the output axis that have bounds of their own; it matters under
  /// `.tensor` only.
  public var parts: PartCount

  public init(
    bitWidth: Int = 4, granularity: QuantizationGranularity = .tensor,
    search: BoundSearchMethod = .dobi, parameterType: QuantizationParameterType = .float32,
    parts: PartCount = 1
  ) {
    self.bitWidth = bitWidth
    self.granularity = granularity
    self.search = search
    self.parameterType = parameterType
    self.parts = parts
  }
}

/// How many matrices a tensor stacks along its first axis.
///
/// ```swift
/// var overrides = RecipeRule.Overrides(parts: 3)  // queries, keys and values
/// let fused = try RecipeRule(match: [NameGlob("*.qkv.weight")], action: .quantize(overrides))
/// overrides.parts = .firstAxis  // one part per expert
/// let experts = try RecipeRule(match: [NameGlob("*.experts.*")], action: .quantize(overrides))
/// print(Recipe(name: "mixture", rules: [fused, experts]).jsonValue.serialized(pretty: true))
/// ```
public enum PartCount: Hashable, Sendable, ExpressibleByIntegerLiteral {
  /// As many, such as the three of a fused query-key-value weight.
  case count(Int)
  /// As many as the first axis is long, such as the experts of `[expert, in, out]`.
  case firstAxis

  /// Creates `count(_:)`.
  public init(integerLiteral count: Int) { self = .count(count) }

  /// The number for a tensor of this shape.
  func resolved(for shape: Shape) -> Int {
    switch self {
    case .count(let count): count
    case .firstAxis: shape.matrix?.rows ?? 1
    }
  }
}

/// One rule of a recipe.
///
/// ```swift
/// let head = try RecipeRule(match: [NameGlob("head.*")], action: .keep, reason: "head")
/// let rest = try RecipeRule(match: [NameGlob("*.weight")], action: .quantize(.init(bitWidth: 2)))
/// let recipe = Recipe(name: "two bits", rules: [head, rest])
/// print(recipe.jsonValue.serialized(pretty: true))
/// ```
public struct RecipeRule: Hashable, Sendable {
  /// What becomes of a tensor that a rule matches.
  public enum Action: Hashable, Sendable {
    /// It keeps every bit.
    case keep
    /// It is quantized by the recipe's defaults, but for these settings.
    case quantize(Overrides)
  }

  /// What a rule says itself; the rest is the recipe's default.
  public struct Overrides: Hashable, Sendable {
    /// Bits of a code, 1 to 8; `nil` for the default.
    public var bitWidth: Int?
    /// How many elements share bounds; `nil` for the default.
    public var granularity: QuantizationGranularity?
    /// How bounds are found; `nil` for the default.
    public var search: BoundSearchMethod?
    /// How bounds are stored; `nil` for the default.
    public var parameterType: QuantizationParameterType?
    /// Stacked matrices with bounds of their own; `nil` for the default.
    public var parts: PartCount?

    public init(
      bitWidth: Int? = nil, granularity: QuantizationGranularity? = nil,
      search: BoundSearchMethod? = nil, parameterType: QuantizationParameterType? = nil,
      parts: PartCount? = nil
    ) {
      self.bitWidth = bitWidth
      self.granularity = granularity
      self.search = search
      self.parameterType = parameterType
      self.parts = parts
    }

    func applied(to defaults: QuantizationSettings) -> QuantizationSettings {
      QuantizationSettings(
        bitWidth: bitWidth ?? defaults.bitWidth,
        granularity: granularity ?? defaults.granularity, search: search ?? defaults.search,
        parameterType: parameterType ?? defaults.parameterType, parts: parts ?? defaults.parts)
    }
  }

  /// Names, any of which the rule is for.
  public var match: [NameGlob]
  /// What the tensor must be besides.
  public var condition: RecipeCondition
  /// What becomes of a tensor that matches.
  public var action: Action
  /// Why a tensor is kept, as reports say it; `nil` for rules that need no word, and those that
  /// quantize.
  public var reason: String?

  /// A rule for tensors with a name that one of `match` fits, and that meet `condition`.
  public init(
    match: [NameGlob], where condition: RecipeCondition = .init(), action: Action,
    reason: String? = nil
  ) {
    self.match = match
    self.condition = condition
    self.action = action
    self.reason = reason
  }

  func matches(_ subject: RecipeSubject) -> Bool {
    condition.holds(for: subject) && match.contains { $0.matches(subject.name) }
  }
}

/// What a tensor must be, besides its name, for a rule to apply.
///
/// ```swift
/// let isMatrix = RecipeCondition(ranks: [2], minimumDimension: 32, elementKind: .floating)
/// let rule = try RecipeRule(match: [NameGlob("*")], where: isMatrix, action: .quantize(.init()))
/// let recipe = Recipe(name: "matrices", rules: [rule])
/// let archive = try FormatRegistry.standard.open("model.pth")
/// try Compressor(archive, recipe: recipe).write(to: "model.condi")
/// ```
public struct RecipeCondition: Hashable, Sendable {
  /// Element types by what they hold; complex numbers and booleans are `other`.
  public enum ElementKind: String, Hashable, Sendable, CaseIterable {
    /// Floating-point numbers of 16 bits and more, which can be quantized.
    case floating
    /// Floating-point numbers of fewer bits, which are codes already.
    case narrow
    /// Whole numbers.
    case integer
    /// Anything else.
    case other

    init(_ elementType: ElementType) {
      self =
        elementType.isFloatingPoint
        ? (elementType.bitWidth < 16 ? .narrow : .floating)
        : elementType.isInteger ? .integer : .other
    }
  }

  /// Which two axes of a convolution count its channels.
  public enum ChannelAxes: String, Hashable, Sendable, CaseIterable {
    /// `[out, in, height, width]`, as in PyTorch.
    case first
    /// `[height, width, in, out]`, as in TensorFlow and Flax.
    case last
  }

  /// Kinds of models, by where most of their weights are.
  public enum ModelKind: String, Hashable, Sendable, CaseIterable {
    /// What rules with this condition match has more elements than what all other rules quantize.
    case convolutional
  }

  /// The ranks that are accepted; `nil` for all.
  public var ranks: [Int]?
  /// The least of both dimensions of the tensor as a weight matrix `[out, in·kh·kw]`. Tensors that
  /// are no matrices have none.
  public var minimumDimension: Int?
  /// The least length of both axes that `channelAxes` names. Tensors that are no matrices have none.
  public var minimumChannels: Int?
  /// The axes that `minimumChannels` is about.
  public var channelAxes: ChannelAxes
  /// What the elements must be; `nil` for anything.
  public var elementKind: ElementKind?
  /// What the output dimension must be a multiple of.
  public var rowMultiple: Int?
  /// Whether a tensor named as the bias of the same layer must be there, or must not.
  public var hasBias: Bool?
  /// Whether the tensor must be a convolution that puts out the colours of pixels, or must not: one
  /// of 3r² outputs, to be shuffled to r×r pixels of three colours, which no other weight takes in.
  public var makesPixels: Bool?
  /// What the whole model must be; `nil` for any.
  public var model: ModelKind?

  public init(
    ranks: [Int]? = nil, minimumDimension: Int? = nil, minimumChannels: Int? = nil,
    channelAxes: ChannelAxes = .first, elementKind: ElementKind? = nil, rowMultiple: Int? = nil,
    hasBias: Bool? = nil, makesPixels: Bool? = nil, model: ModelKind? = nil
  ) {
    self.ranks = ranks
    self.minimumDimension = minimumDimension
    self.minimumChannels = minimumChannels
    self.channelAxes = channelAxes
    self.elementKind = elementKind
    self.rowMultiple = rowMultiple
    self.hasBias = hasBias
    self.makesPixels = makesPixels
    self.model = model
  }

  func holds(for subject: RecipeSubject) -> Bool {
    let shape = subject.shape
    if let ranks, !ranks.contains(shape.rank) { return false }
    if let elementKind, elementKind != ElementKind(subject.elementType) { return false }
    if let hasBias, hasBias != subject.hasBias { return false }
    if let makesPixels, makesPixels != subject.makesPixels { return false }
    if model != nil, !subject.isInConvolutionalModel { return false }
    if let minimumDimension {
      guard let matrix = shape.matrix, min(matrix.rows, matrix.columns) >= minimumDimension
      else { return false }
    }
    if let minimumChannels {
      guard shape.matrix != nil else { return false }
      let axes =
        channelAxes == .first ? shape.dimensions.prefix(2) : shape.dimensions.suffix(2)
      guard axes.allSatisfy({ $0 >= minimumChannels }) else { return false }
    }
    if let rowMultiple {
      guard let matrix = shape.matrix, matrix.rows.isMultiple(of: rowMultiple) else {
        return false
      }
    }
    return true
  }
}
