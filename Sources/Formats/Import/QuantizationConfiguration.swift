import FoundationEssentials
import OrderedCollections
import Storage

/// The description of a checkpoint's codes by the configuration beside it.
///
/// Nothing in it is an error: members that are missing or have another type are `nil`.
struct QuantizationConfiguration: Sendable {
  /// The whole configuration; `nil` if there is none.
  let json: JSONValue?
  private let members: OrderedDictionary<String, JSONValue>

  init(_ json: JSONValue?) {
    self.json = json
    guard case .object(let whole)? = json else {
      members = [:]
      return
    }
    for key in ["quantization_config", "compression_config"] {
      if case .object(let nested)? = whole[key] {
        members = nested
        return
      }
    }
    members = whole
  }

  /// Reads the first file in the folder of the archive that describes codes.
  init(beside archive: TensorArchive) {
    guard let file = archive.sourceFiles.first else {
      self.init(nil)
      return
    }
    let folder = file.deletingLastPathComponent
    for name in Self.fileNames {
      let path = folder.isEmpty ? name : "\(folder)/\(name)"
      guard FileManager.default.fileExists(atPath: path),
        let json = try? ModelImport.configuration(at: path), Self.isOfCodes(json)
      else { continue }
      self.init(json)
      return
    }
    self.init(nil)
  }

  private static let fileNames = ["quantize_config.json", "config.json", "quant_config.json"]

  private static func isOfCodes(_ json: JSONValue) -> Bool {
    guard case .object(let members) = json else { return false }
    return [
      "bits", "w_bit", "quantization_config", "compression_config", "quantization",
      "quant_method",
    ].contains { members[$0] != nil }
  }

  func text(_ key: String) -> String? {
    if case .string(let text)? = members[key] { text.lowercased() } else { nil }
  }

  func integer(_ key: String) -> Int? {
    if case .integer(let value)? = members[key] { value } else { nil }
  }

  func flag(_ key: String) -> Bool? {
    if case .boolean(let value)? = members[key] { value } else { nil }
  }

  /// The method that the configuration names, such as `gptq`, `awq`, `fp8`.
  var method: String? { text("quant_method") }

  /// The rows and columns of a block that shares a scale.
  var blockSize: [Int]? {
    guard case .array(let sizes)? = members["weight_block_size"] else { return nil }
    let numbers = sizes.compactMap { size -> Int? in
      if case .integer(let number) = size, number > 0 { number } else { nil }
    }
    return numbers.count == sizes.count && numbers.count == 2 ? numbers : nil
  }

  /// The bit width of the weights in the scheme of compressed-tensors, if all groups of modules
  /// agree.
  var compressedBitWidth: Int? { compressedWeights("num_bits") }

  /// The number of weights that share a scale in the scheme of compressed-tensors, likewise.
  var compressedGroupSize: Int? { compressedWeights("group_size").flatMap { $0 > 0 ? $0 : nil } }

  private func compressedWeights(_ key: String) -> Int? {
    guard case .object(let groups)? = members["config_groups"] else { return nil }
    let numbers = Set(
      groups.values.map { group -> Int? in
        guard case .object(let group) = group, case .object(let weights)? = group["weights"],
          case .integer(let number)? = weights[key]
        else { return nil }
        return number
      })
    return numbers.count == 1 ? numbers.first ?? nil : nil
  }
}
