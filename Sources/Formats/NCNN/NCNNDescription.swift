import Storage

/// The description of an ncnn network, a `.param` file: its layers, in the order in which they run.
///
/// Source: ncnn's `param-and-model-file-structure.md`. The first line is a number that every
/// description begins with, the second counts layers and blobs, and each further line is a layer: type,
/// name, the number of blobs that it takes and makes, their names, and parameters as `key=value`.
package struct NCNNDescription: Hashable, Sendable {
  /// A layer, which makes blobs of others.
  package struct Layer: Hashable, Sendable {
    package var type: String
    package var name: String
    package var inputs: [String]
    package var outputs: [String]
    /// By ncnn's numbers; those left out have a default.
    package var parameters: [Int: Parameter]

    package init(
      _ type: String, _ name: String, _ inputs: [String], _ outputs: [String],
      _ parameters: [Int: Parameter] = [:]
    ) {
      self.type = type
      self.name = name
      self.inputs = inputs
      self.outputs = outputs
      self.parameters = parameters
    }
  }

  package enum Parameter: Hashable, Sendable {
    case integer(Int)
    case real(Float)
    case integers([Int])
    case reals([Float])
    case text(String)
  }

  static let magic = "7767517"
  static let byteCountLimit = 64 << 20
  static let layerCountLimit = 100_000

  package var layers: [Layer]

  package init(_ layers: [Layer] = []) { self.layers = layers }
}

// MARK: Parameters

extension NCNNDescription.Layer {
  /// Returns an integer parameter.
  ///
  /// - Throws: `ModelError` when it has a fraction, or is no number.
  package func integer(_ key: Int, default standard: Int = 0) throws -> Int {
    switch parameters[key] {
    case nil: return standard
    case .integer(let value): return value
    case .real(let value):
      if let whole = Int(exactly: value) { return whole }
      fallthrough
    case .integers, .reals, .text: throw mismatch(key, "an integer")
    }
  }

  /// Returns a parameter that counts something, at most 2³¹ − 1.
  ///
  /// - Throws: `ModelError` when it is negative, larger or no integer.
  package func count(_ key: Int, default standard: Int = 0) throws -> Int {
    let value = try integer(key, default: standard)
    guard (0...Int(Int32.max)).contains(value) else { throw mismatch(key, "a count") }
    return value
  }

  /// Returns a real parameter.
  ///
  /// - Throws: `ModelError` when it is no number.
  package func real(_ key: Int, default standard: Float = 0) throws -> Float {
    switch parameters[key] {
    case nil: standard
    case .integer(let value): Float(value)
    case .real(let value): value
    case .integers, .reals, .text: throw mismatch(key, "a number")
    }
  }

  /// Returns a list of numbers; empty where there is none.
  ///
  /// - Throws: `ModelError` when it is a text.
  package func list(_ key: Int) throws -> [Float] {
    switch parameters[key] {
    case nil: []
    case .integer(let value): [Float(value)]
    case .real(let value): [value]
    case .integers(let values): values.map(Float.init)
    case .reals(let values): values
    case .text: throw mismatch(key, "numbers")
    }
  }

  private func mismatch(_ key: Int, _ expected: String) -> ModelError {
    ModelError.mismatch(
      expected: "\(expected) for parameter \(key) of the \(type) layer '\(name)'",
      found: parameters[key]?.text ?? "none")
  }
}

// MARK: Text

extension NCNNDescription.Parameter {
  /// The value as in a description.
  var text: String {
    switch self {
    case .integer(let value): "\(value)"
    // Always with a point or an exponent: ncnn takes others for integers.
    case .real(let value): "\(value)"
    case .integers(let values): Self.text(values)
    case .reals(let values): Self.text(values)
    case .text(let text): text
    }
  }

  private static func text(_ values: [some LosslessStringConvertible]) -> String {
    (["\(values.count)"] + values.map { "\($0)" }).joined(separator: ",")
  }

  /// Parses the value of a key, which says whether it is a list by the old way of writing.
  init?(_ text: Substring, isList: Bool) {
    if isList {
      let parts = text.split(separator: ",", omittingEmptySubsequences: false)
      guard let first = parts.first, let count = Int(first), count == parts.count - 1 else {
        return nil
      }
      self.init(numbers: parts.dropFirst())
    } else if text.first?.isLetter == true || text.first == "\"" {
      self = .text(String(text))
    } else if text.contains(",") {
      self.init(numbers: text.split(separator: ",")[...])
    } else if let value = Int(text) {
      self = .integer(value)
    } else if let value = Float(text) {
      self = .real(value)
    } else {
      return nil
    }
  }

  private init?(numbers parts: ArraySlice<Substring>) {
    let integers = parts.compactMap { Int($0) }
    if integers.count == parts.count {
      self = .integers(integers)
      return
    }
    let reals = parts.compactMap { Float($0) }
    guard reals.count == parts.count else { return nil }
    self = .reals(reals)
  }
}

extension NCNNDescription {
  /// Lists are written under this number minus their key.
  private static let listKey = -23_300

  /// The description as the text of a `.param` file.
  package var text: String {
    let blobCount = layers.reduce(0) { $0 + $1.outputs.count }
    var lines = [Self.magic, "\(layers.count) \(blobCount)"]
    for layer in layers {
      var parts = [layer.type, layer.name, "\(layer.inputs.count)", "\(layer.outputs.count)"]
      parts += layer.inputs + layer.outputs
      for (key, value) in layer.parameters.sorted(by: { $0.key < $1.key }) {
        switch value {
        case .integers, .reals: parts.append("\(Self.listKey - key)=\(value.text)")
        case .integer, .real, .text: parts.append("\(key)=\(value.text)")
        }
      }
      lines.append(parts.joined(separator: " "))
    }
    return lines.joined(separator: "\n") + "\n"
  }

  /// Parses the text of a `.param` file.
  ///
  /// - Throws: `ModelError` with the line that breaks the format's rules: a layer is incomplete, takes
  ///   a blob that none before it makes, or has the name of another.
  package init(parsing text: String) throws {
    let lines = text.split(omittingEmptySubsequences: false) { $0 == "\n" || $0 == "\r\n" }
    var counts: (layers: Int, blobs: Int)?
    var hasMagic = false
    layers = []
    var names: Set<String> = []
    var blobs: Set<String> = []
    for (index, line) in lines.enumerated() {
      let words = line.split { $0 == " " || $0 == "\t" }
      guard !words.isEmpty else { continue }
      func malformed(_ problem: String) -> ModelError {
        ModelError.malformed("line \(index + 1): \(problem)")
      }
      guard hasMagic else {
        guard words == [Self.magic[...]] else {
          throw malformed("expected the number \(Self.magic)")
        }
        hasMagic = true
        continue
      }
      guard let (layerCount, blobCount) = counts else {
        guard words.count == 2, let layers = Int(words[0]), let blobs = Int(words[1]),
          layers >= 0, blobs >= 0
        else { throw malformed("expected the numbers of layers and of blobs") }
        guard layers <= Self.layerCountLimit else {
          throw ModelError(
            .limitExceeded(
              what: "the number of layers", limit: Self.layerCountLimit, found: "\(layers)"))
        }
        counts = (layers, blobs)
        continue
      }
      guard layers.count < layerCount else {
        throw malformed("there are more layers than the \(layerCount) of line 2")
      }
      let layer = try locatingLine(index + 1) { try Layer(parsing: words) }
      for blob in layer.inputs where !blobs.contains(blob) {
        throw malformed("'\(layer.name)' takes '\(blob)', which no layer before it makes")
      }
      for blob in layer.outputs where !blobs.insert(blob).inserted {
        throw malformed("'\(blob)' is made twice")
      }
      guard blobs.count <= blobCount else {
        throw malformed("there are more blobs than the \(blobCount) of line 2")
      }
      guard names.insert(layer.name).inserted else {
        throw malformed("two layers have the name '\(layer.name)'")
      }
      layers.append(layer)
    }
    guard let counts, counts.layers == layers.count else {
      throw ModelError.malformed(
        "the description ends after \(counted(layers.count, "layer"))"
          + (counts.map { " of \($0.layers)" } ?? ""))
    }
  }
}

/// Names the line in errors.
private func locatingLine<Result>(_ line: Int, _ body: () throws -> Result) throws -> Result {
  do { return try body() } catch let error as ModelError {
    throw ModelError.malformed("line \(line): \(error.problem)")
  }
}

extension NCNNDescription.Layer {
  /// Parses the words of a line.
  fileprivate init(parsing words: [Substring]) throws {
    guard words.count >= 4, let inputCount = Int(words[2]), let outputCount = Int(words[3]),
      inputCount >= 0, outputCount >= 0, inputCount <= words.count, outputCount <= words.count,
      words.count >= 4 + inputCount + outputCount
    else { throw ModelError.malformed("expected a type, a name, and blobs after their numbers") }
    let blobs = words[4..<4 + inputCount + outputCount].map(String.init)
    self.init(
      String(words[0]), String(words[1]), Array(blobs[..<inputCount]),
      Array(blobs[inputCount...]))
    for word in words[(4 + inputCount + outputCount)...] {
      let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard parts.count == 2, let number = Int(parts[0]) else {
        throw ModelError.malformed("'\(word)' is no parameter")
      }
      let isList = (NCNNDescription.listKey - 31...NCNNDescription.listKey).contains(number)
      let key = isList ? NCNNDescription.listKey - number : number
      guard (0..<32).contains(key) else {
        throw ModelError.malformed("there is no parameter \(number)")
      }
      guard let value = NCNNDescription.Parameter(parts[1], isList: isList) else {
        throw ModelError.malformed("'\(word)' has no number")
      }
      guard parameters.updateValue(value, forKey: key) == nil else {
        throw ModelError.malformed("the parameter \(key) is given twice")
      }
    }
  }
}
