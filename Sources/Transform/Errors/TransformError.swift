import Glibc

/// Why a model could not be planned or quantized, with the place where it went wrong.
///
/// The description is one line for a person: recipe, tensor, then the problem, as in
/// `mine.json: rules[1].bits: expected an integer from 1 to 8, found 9`. What goes wrong in the
/// model's own file is a `ModelError` instead.
public struct TransformError: Error, Hashable, Sendable {
  /// What is wrong.
  public enum Problem: Hashable, Sendable {
    /// The recipe breaks its rules at `key`, a path such as `rules[1].bits`; empty at the top.
    case invalidRecipe(key: String, message: String)
    /// There is no built-in recipe of this name.
    case unknownRecipe(known: [String])
    /// A pattern of the recipe that no tensor name matches.
    case unmatchedPattern(String)
    /// A rule asks for a tensor to be quantized that cannot be.
    case cannotQuantize(reason: String)
    /// The recipe quantizes, but nothing in this model: why its tensors are kept, and what would
    /// quantize some.
    case nothingToQuantize(reason: String, advice: String?)
    /// A tensor to be quantized holds a NaN or an infinity.
    case notFinite(value: String, element: Int)
    /// A weight cannot be given the condition number that was asked for.
    case cannotCondition(reason: String)
    /// What does not fit in a calibration archive, or between it and the model.
    case invalidCalibration(reason: String)
    /// A packed file cannot be made again with what is at hand.
    case cannotReproduce(reason: String)
    /// No choice of bit widths meets the budget.
    case budgetTooSmall(reason: String)
    /// The plan has no quantization for this tensor, or one for another type or shape.
    case notPlanned(reason: String)
  }

  /// What is wrong; the other members say where.
  public var problem: Problem
  /// The recipe as a person knows it: its file's path, or its name in quotes.
  public var recipe: String?
  /// The tensor concerned.
  public var tensor: String?

  package init(_ problem: Problem, recipe: String? = nil, tensor: String? = nil) {
    self.problem = problem
    self.recipe = recipe
    self.tensor = tensor
  }
}

/// Runs `body`, and names the tensor in a `TransformError` that does not name one.
func namingTensor<Result>(_ name: String, _ body: () throws -> Result) throws -> Result {
  do {
    return try body()
  } catch var error as TransformError {
    error.tensor = error.tensor ?? name
    throw error
  }
}

extension TransformError: CustomStringConvertible {
  public var description: String {
    let place = [recipe, tensor.map { "tensor '\($0)'" }]
      .compactMap { $0?.escapingControlCharacters }
    return (place + ["\(problem)"]).joined(separator: ": ")
  }

}

extension TransformError.Problem: CustomStringConvertible {
  public var description: String {
    let text =
      switch self {
      case .invalidRecipe(let key, let message): key.isEmpty ? message : "\(key): \(message)"
      case .unknownRecipe(let known):
        "no built-in recipe of this name; there are \(known.joined(separator: ", "))"
      case .unmatchedPattern(let pattern): "no tensor name matches '\(pattern)'"
      case .cannotQuantize(let reason), .notPlanned(let reason), .cannotCondition(let reason),
        .invalidCalibration(let reason), .budgetTooSmall(let reason), .cannotReproduce(let reason):
        reason
      case .nothingToQuantize(let reason, let advice):
        "selects no tensor of this model"
          + (reason.isEmpty ? "" : " (\(reason))") + (advice.map { "; \($0)" } ?? "")
      case .notFinite(let value, let element):
        "element \(element) is \(value), which cannot be quantized"
      }
    return text.escapingControlCharacters
  }
}
