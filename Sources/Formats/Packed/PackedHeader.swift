import OrderedCollections

/// The JSON header of a packed file.
public struct PackedHeader: Sendable {
  /// Program and version that wrote the file.
  public var producer: String
  /// The file that was packed; `nil` when it was not said.
  public var source: Source?
  /// The recipe as it was asked for, in canonical form.
  public var recipe: JSONValue?
  /// The source's texts, in its order.
  public var metadata: OrderedDictionary<String, String> = [:]
  /// The source's values that are no tensors, in its order.
  public var values: OrderedDictionary<String, ArchiveValue> = [:]
  /// How activations are quantized; empty when they are not.
  public var activations: [ActivationQuantizer] = []
  /// Names of full-precision tensors that quantization changed, such as corrected biases; all other
  /// kept tensors have the source's bits.
  package var adjustedNames: [String] = []
  /// Every tensor that has a record, in the order of the records.
  public var entries: [PackedEntry] = []
  /// Every name in the archive's order, with the index of its entry; a shared tensor's entry occurs
  /// under several names.
  package var names: OrderedDictionary<String, Int> = [:]
  /// Members this version does not know, kept for rewriting.
  var unknownMembers: OrderedDictionary<String, JSONValue> = [:]

  /// A header of no tensors.
  public init(producer: String) {
    self.producer = producer
  }

  /// Where the tensors came from.
  public struct Source: Hashable, Sendable {
    /// Name of the source's format, such as `pytorch`.
    public var format: String
    /// The source's length.
    public var byteCount: Int
    /// The source's SHA-256 in lower-case hexadecimal; of several files that of the list of theirs.
    public var sha256: String
    /// Bytes of the tensors taken from it, each counted as often as it is named.
    public var tensorByteCount: Int
    /// The part of a nested checkpoint that was taken; `nil` for all of it.
    public var root: String?
    /// Whether it is all that a PyTorch module has for its state, so that buffers that are not there do
    /// not exist.
    public var isWholeState = false

    public init(
      format: String, byteCount: Int, sha256: String, tensorByteCount: Int, root: String?
    ) {
      self.format = format
      self.byteCount = byteCount
      self.sha256 = sha256
      self.tensorByteCount = tensorByteCount
      self.root = root
    }

    /// Where the tensors of `archive` came from.
    ///
    /// - Parameters:
    ///   - root: the part of a nested checkpoint that the archive is.
    ///   - run: computes the digests of its files.
    /// - Throws: `FormatError` when one of its files cannot be read any more.
    public init(
      _ archive: TensorArchive, root: String?,
      runningTasks run: PackedWriter.TaskRunner = PackedWriter.sequentially
    ) throws {
      self.init(
        format: archive.format?.name ?? "unknown", byteCount: try archive.sourceByteCount(),
        sha256: try archive.sourceSHA256(runningTasks: run),
        tensorByteCount: archive.tensors.reduce(0) { sum, tensor in
          sum + (archive.storedByteCounts[tensor.key] ?? tensor.value.byteCount)
        }, root: root)
      isWholeState = archive.isWholeStateDictionary
    }
  }
}

/// What the bounds of an activation quantizer are measured in.
public enum ActivationScaling: Hashable, Sendable {
  /// The activation's own values: the same bounds for all of them, as 2DQuant has it.
  case tensor
  /// The largest magnitude of each row of values, which is found when the model runs: a token's
  /// features (token-wise quantization of ZeroQuant, Yao et al. 2022, arXiv:2206.01861), a query's
  /// attention weights. Bounds are multiples of it, most often from −1 to 1.
  case row
  /// The range of each group of so many successive values of a row, at least 2, found when the model
  /// runs: −1 is the least value of the group, 1 the greatest. The last group of a row may be shorter.
  /// (Asymmetric group-wise quantization, as weights of GPTQ and GGUF have it, of activations.)
  case group(Int)
}

/// `tensor`, `row`, and `group:16` for groups of 16.
extension ActivationScaling: RawRepresentable, Codable {
  /// What a group's size may be.
  public static let groupSizes = 2...65536

  public init?(rawValue: String) {
    switch rawValue {
    case "tensor": self = .tensor
    case "row": self = .row
    default:
      guard rawValue.hasPrefix("group:"), let size = Int(rawValue.dropFirst("group:".count)),
        Self.groupSizes.contains(size), rawValue == "group:\(size)"
      else { return nil }
      self = .group(size)
    }
  }

  public var rawValue: String {
    switch self {
    case .tensor: "tensor"
    case .row: "row"
    case .group(let size): "group:\(size)"
    }
  }

  /// Values of a group; `nil` where there are none.
  public var groupSize: Int? {
    if case .group(let size) = self { size } else { nil }
  }
}

/// The clipping bounds of one activation, as 2DQuant places them.
public struct ActivationQuantizer: Hashable, Sendable {
  /// The site of the network, such as `layers.0.attn.qkv.input`.
  public var name: String
  /// Bits of a code, 1 to 8.
  public var bitWidth: Int
  /// What code 0 stands for, as `scaling` says.
  public var lower: Float
  /// What the largest code stands for, as `scaling` says.
  public var upper: Float
  /// What the bounds are measured in.
  public var scaling: ActivationScaling

  public init(
    name: String, bitWidth: Int, lower: Float, upper: Float, scaling: ActivationScaling = .tensor
  ) {
    self.name = name
    self.bitWidth = bitWidth
    self.lower = lower
    self.upper = upper
    self.scaling = scaling
  }
}
