import Formats

/// Which tensors of a model are quantized, and how.
///
/// Rules are tried in order, and the first that matches a tensor decides; what no rule matches is
/// kept as it is. Buffers are never quantized, whatever the rules say.
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

  /// The settings for a tensor, or `nil` where it is kept.
  ///
  /// Buffers are for the caller to leave out.
  func settings(name: String, elementType: ElementType, shape: Shape) -> QuantizationSettings? {
    let rule = rules.first { $0.matches(name: name, elementType: elementType, shape: shape) }
    guard case .quantize(let overrides) = rule?.action else { return nil }
    return overrides.applied(to: defaults)
  }
}

/// How a tensor is quantized.
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
  public var parts: Int

  public init(
    bitWidth: Int = 4, granularity: QuantizationGranularity = .tensor,
    search: BoundSearchMethod = .dobi, parameterType: QuantizationParameterType = .float32,
    parts: Int = 1
  ) {
    self.bitWidth = bitWidth
    self.granularity = granularity
    self.search = search
    self.parameterType = parameterType
    self.parts = parts
  }
}

/// One rule of a recipe.
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
    public var parts: Int?

    public init(
      bitWidth: Int? = nil, granularity: QuantizationGranularity? = nil,
      search: BoundSearchMethod? = nil, parameterType: QuantizationParameterType? = nil,
      parts: Int? = nil
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

  /// A rule for tensors with a name that one of `match` fits, and that meet `condition`.
  public init(match: [NameGlob], where condition: RecipeCondition = .init(), action: Action) {
    self.match = match
    self.condition = condition
    self.action = action
  }

  func matches(name: String, elementType: ElementType, shape: Shape) -> Bool {
    condition.holds(elementType: elementType, shape: shape)
      && match.contains { $0.matches(name) }
  }
}

/// What a tensor must be, besides its name, for a rule to apply.
public struct RecipeCondition: Hashable, Sendable {
  /// Element types by what they hold; complex numbers and booleans are `other`.
  public enum ElementKind: String, Hashable, Sendable, CaseIterable {
    case floating, integer, other

    init(_ elementType: ElementType) {
      self =
        elementType.isFloatingPoint ? .floating : elementType.isInteger ? .integer : .other
    }
  }

  /// The ranks that are accepted; `nil` for all.
  public var ranks: [Int]?
  /// The least of both dimensions of the tensor as a weight matrix `[out, in·kh·kw]`. Tensors that
  /// are no matrices have none.
  public var minimumDimension: Int?
  /// What the elements must be; `nil` for anything.
  public var elementKind: ElementKind?
  /// What the output dimension must be a multiple of.
  public var rowMultiple: Int?

  public init(
    ranks: [Int]? = nil, minimumDimension: Int? = nil, elementKind: ElementKind? = nil,
    rowMultiple: Int? = nil
  ) {
    self.ranks = ranks
    self.minimumDimension = minimumDimension
    self.elementKind = elementKind
    self.rowMultiple = rowMultiple
  }

  func holds(elementType: ElementType, shape: Shape) -> Bool {
    if let ranks, !ranks.contains(shape.rank) { return false }
    if let elementKind, elementKind != ElementKind(elementType) { return false }
    if let minimumDimension {
      guard let matrix = shape.matrix, min(matrix.rows, matrix.columns) >= minimumDimension
      else { return false }
    }
    if let rowMultiple {
      guard let matrix = shape.matrix, matrix.rows.isMultiple(of: rowMultiple) else {
        return false
      }
    }
    return true
  }
}
