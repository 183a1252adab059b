import Formats

/// A description of which tensors of a model are quantized, and how.
///
/// Rules are tried in order, and the first that matches a tensor decides; tensors that no rule
/// matches are kept. Buffers are never quantized, regardless of the rules.
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
  /// The settings that rules do not override.
  public var defaults: QuantizationSettings
  /// The rules; the first one that matches a tensor decides.
  public var rules: [RecipeRule]
  /// The method by which the whole model is quantized.
  public var method: MethodSettings
  /// The budget for which bit widths are chosen; `nil` if rules and defaults determine them.
  public var budget: SizeBudget?
  /// Names of tensors that are not parameters but derived from the model's configuration or its
  /// training: indices, masks, running statistics. Tensors that are not floating point are buffers
  /// under any name.
  public var buffers: [NameGlob]
  /// Names of relative-position tables, which the papers leave out of their ratios.
  public var positionTables: [NameGlob]
  /// Whether a rule's pattern may match no tensor. Built-in recipes allow it, because they serve
  /// many models; in a recipe for one model it is a mistake.
  public var allowsUnmatchedPatterns: Bool

  public init(
    name: String, defaults: QuantizationSettings = QuantizationSettings(), rules: [RecipeRule],
    buffers: [NameGlob] = Recipe.conventionalBuffers,
    positionTables: [NameGlob] = Recipe.conventionalPositionTables,
    allowsUnmatchedPatterns: Bool = false, method: MethodSettings = MethodSettings(.nearest),
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

  /// The decision on a tensor.
  enum Decision: Hashable, Sendable {
    case quantize(QuantizationSettings)
    case keep(reason: String)
  }

  /// Returns the decision of the first rule that matches a tensor.
  ///
  /// The caller must leave out buffers.
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

/// The properties of a tensor that rules test, known from its model's index.
struct RecipeSubject: Hashable, Sendable {
  let name: String
  let elementType: ElementType
  let shape: Shape
  /// Whether its layer has a bias, as linear layers and convolutions may, but tables do not.
  var hasBias = false
  /// Whether it is a convolution that outputs the color channels of pixels.
  var makesPixels = false
  /// Whether convolutions hold most of the weights of its model.
  var isInConvolutionalModel = false
  /// The method by which its model is quantized.
  var method = QuantizationMethod.nearest
}

/// Settings by which a tensor is quantized.
///
/// ```swift
/// var recipe = try Recipe.named("body")
/// recipe.defaults = QuantizationSettings(
///   bitWidth: 3, granularity: .group(64), parameterType: .float16)  // by default .scaled6
/// let archive = try FormatRegistry.standard.open("model.pth")
/// try Compressor(archive, recipe: recipe).write(to: "model.condi")
/// ```
public struct QuantizationSettings: Hashable, Sendable {
  /// The bit width of a code, 1 to 8.
  public var bitWidth: Int
  /// The elements that share one lower bound and one scale.
  public var granularity: QuantizationGranularity
  /// The method by which bounds are found.
  public var search: BoundSearchMethod
  /// The type in which lower bounds and scales are stored; `nil` for `scaled6` where weights are
  /// quantized in groups, each on its own, and for `float32` everywhere else.
  public var parameterType: QuantizationParameterType?
  /// The number of matrices stacked along the output axis that have their own bounds; it only
  /// matters for `.tensor`.
  public var parts: PartCount
  /// The least bit width that a budget may choose.
  var leastBitWidth = 1

  public init(
    bitWidth: Int = 4, granularity: QuantizationGranularity = .tensor,
    search: BoundSearchMethod = .dobi, parameterType: QuantizationParameterType? = nil,
    parts: PartCount = 1
  ) {
    self.bitWidth = bitWidth
    self.granularity = granularity
    self.search = search
    self.parameterType = parameterType
    self.parts = parts
  }
}

/// The number of matrices that a tensor stacks along its first axis.
///
/// ```swift
/// var overrides = RecipeRule.Overrides(parts: 3)  // queries, keys and values
/// let fused = try RecipeRule(match: [NameGlob("*.qkv.weight")], action: .quantize(overrides))
/// overrides.parts = .firstAxis  // one part per expert
/// let experts = try RecipeRule(match: [NameGlob("*.experts.*")], action: .quantize(overrides))
/// print(Recipe(name: "mixture", rules: [fused, experts]).jsonValue.serialized(pretty: true))
/// ```
public enum PartCount: Hashable, Sendable, ExpressibleByIntegerLiteral {
  /// A given number, such as the three of a fused query-key-value weight.
  case count(Int)
  /// The length of the first axis, such as the experts of `[expert, in, out]`.
  case firstAxis

  /// Creates `count(_:)`.
  public init(integerLiteral count: Int) { self = .count(count) }

  /// Returns the number for a tensor of this shape.
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
  /// The action on a tensor that a rule matches.
  public enum Action: Hashable, Sendable {
    /// Keeps every bit.
    case keep
    /// Quantizes by the recipe's defaults, except for these settings.
    case quantize(Overrides)
  }

  /// The settings of a rule; `nil` ones are the recipe's defaults.
  public struct Overrides: Hashable, Sendable {
    /// The bit width of a code, 1 to 8; `nil` for the default.
    public var bitWidth: Int?
    /// The least bit width of a code, for tensors that narrower ones would harm; `nil` for 1.
    public var leastBitWidth: Int?
    /// The elements that share bounds; `nil` for the default.
    public var granularity: QuantizationGranularity?
    /// The method by which bounds are found; `nil` for the default.
    public var search: BoundSearchMethod?
    /// The type in which bounds are stored; `nil` for the default.
    public var parameterType: QuantizationParameterType?
    /// The number of stacked matrices with their own bounds; `nil` for the default.
    public var parts: PartCount?

    public init(
      bitWidth: Int? = nil, leastBitWidth: Int? = nil,
      granularity: QuantizationGranularity? = nil,
      search: BoundSearchMethod? = nil, parameterType: QuantizationParameterType? = nil,
      parts: PartCount? = nil
    ) {
      self.bitWidth = bitWidth
      self.leastBitWidth = leastBitWidth
      self.granularity = granularity
      self.search = search
      self.parameterType = parameterType
      self.parts = parts
    }

    func applied(to defaults: QuantizationSettings) -> QuantizationSettings {
      var settings = QuantizationSettings(
        bitWidth: max(bitWidth ?? defaults.bitWidth, leastBitWidth ?? 1),
        granularity: granularity ?? defaults.granularity, search: search ?? defaults.search,
        parameterType: parameterType ?? defaults.parameterType, parts: parts ?? defaults.parts)
      settings.leastBitWidth = leastBitWidth ?? 1
      return settings
    }
  }

  /// The name patterns, one of which must match.
  public var match: [NameGlob]
  /// Further conditions on the tensor.
  public var condition: RecipeCondition
  /// The action on a tensor that matches.
  public var action: Action
  /// Why a tensor is kept, for reports; `nil` for rules without a reason and those that quantize.
  public var reason: String?

  /// Creates a rule for tensors whose name matches one of `match` and that meet `condition`.
  public init(
    match: [NameGlob], where condition: RecipeCondition = .init(), action: Action,
    reason: String? = nil
  ) {
    self.match = match
    self.condition = condition
    self.action = action
    self.reason = reason
  }

  /// Whether the rule is for tables that narrow codes would harm.
  var isForTables: Bool {
    if case .quantize(let overrides) = action { overrides.leastBitWidth != nil } else { false }
  }

  func matches(_ subject: RecipeSubject) -> Bool {
    condition.holds(for: subject) && match.contains { $0.matches(subject.name) }
  }
}

/// Conditions on a tensor, besides its name, for a rule to apply.
///
/// ```swift
/// let isMatrix = RecipeCondition(ranks: [2], minimumDimension: 32, elementKind: .floating)
/// let rule = try RecipeRule(match: [NameGlob("*")], where: isMatrix, action: .quantize(.init()))
/// let recipe = Recipe(name: "matrices", rules: [rule])
/// let archive = try FormatRegistry.standard.open("model.pth")
/// try Compressor(archive, recipe: recipe).write(to: "model.condi")
/// ```
public struct RecipeCondition: Hashable, Sendable {
  /// Kinds of element types; complex numbers and booleans are `other`.
  public enum ElementKind: String, Hashable, Sendable, CaseIterable {
    /// Floating-point numbers of 16 or more bits, which can be quantized.
    case floating
    /// Floating-point numbers of fewer bits, which are already codes.
    case narrow
    /// Integers.
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

  /// The two axes of a convolution that count its channels.
  public enum ChannelAxes: String, Hashable, Sendable, CaseIterable {
    /// `[out, in, height, width]`, as in PyTorch.
    case first
    /// `[height, width, in, out]`, as in TensorFlow and Flax.
    case last
  }

  /// Kinds of models, by the kind of layer that holds most of their weights.
  public enum ModelKind: String, Hashable, Sendable, CaseIterable {
    /// The rules with this condition quantize more elements than all other rules together.
    case convolutional
  }

  /// The accepted ranks; `nil` for all.
  public var ranks: [Int]?
  /// The least length of both dimensions of the tensor as a weight matrix `[out, in·kh·kw]`.
  /// Tensors that are not matrices do not match.
  public var minimumDimension: Int?
  /// The least length of both axes named by `channelAxes`. Tensors that are not matrices do not
  /// match.
  public var minimumChannels: Int?
  /// The axes to which `minimumChannels` applies.
  public var channelAxes: ChannelAxes
  /// The required kind of elements; `nil` for any.
  public var elementKind: ElementKind?
  /// A number of which the output dimension must be a multiple.
  public var rowMultiple: Int?
  /// Whether a tensor with the name of the same layer's bias must exist or must not.
  public var hasBias: Bool?
  /// Whether the tensor must or must not be a convolution that outputs the color channels of
  /// pixels: one with 3r² outputs, which are shuffled to r×r pixels with three color channels and
  /// are not the input of another weight.
  public var makesPixels: Bool?
  /// The required kind of the whole model; `nil` for any.
  public var model: ModelKind?
  /// The required method of the recipe; `nil` for any.
  public var method: QuantizationMethod?

  public init(
    ranks: [Int]? = nil, minimumDimension: Int? = nil, minimumChannels: Int? = nil,
    channelAxes: ChannelAxes = .first, elementKind: ElementKind? = nil, rowMultiple: Int? = nil,
    hasBias: Bool? = nil, makesPixels: Bool? = nil, model: ModelKind? = nil,
    method: QuantizationMethod? = nil
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
    self.method = method
  }

  func holds(for subject: RecipeSubject) -> Bool {
    let shape = subject.shape
    if let ranks, !ranks.contains(shape.rank) { return false }
    if let elementKind, elementKind != ElementKind(subject.elementType) { return false }
    if let hasBias, hasBias != subject.hasBias { return false }
    if let makesPixels, makesPixels != subject.makesPixels { return false }
    if model != nil, !subject.isInConvolutionalModel { return false }
    if let method, method != subject.method { return false }
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
