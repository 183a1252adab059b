import Storage

/// Something that a pickle would make Python do beyond building plain data.
public struct PickleEvent: Hashable, Sendable {
  /// What an opcode would have Python do.
  public enum Kind: Hashable, Sendable {
    /// A class or function is looked up, which imports its module.
    case global(name: String)
    /// A global that is computed while unpickling: which one cannot be read from the file.
    case computedGlobal
    /// A registered extension code is looked up.
    case extensionCode(Int)
    /// A call; `callee` is `nil` when what is called was computed.
    case call(callee: String?, argument: String)
    /// The state of an object is set, or of the class or function itself.
    case state(of: String?, isGlobal: Bool)
    /// The program that unpickles is asked for an object, by an identifier.
    case persistentIdentifier(String)
  }

  /// What happens.
  public let kind: Kind
  /// What is to be thought of it.
  public let verdict: PickleVerdict
  /// What a known global does.
  public let knownFor: String?
  /// As `pickletools` names it.
  public let opcode: String
  /// In the file, or in the stream that holds the pickle where the file holds that compressed.
  public let offset: Int

  init(_ kind: Kind, _ judgement: PickleGlobalJudgement, opcode: PickleOpcode, offset: Int) {
    self.init(kind, judgement, opcodeName: opcode.name, offset: offset)
  }

  init(_ kind: Kind, _ judgement: PickleGlobalJudgement, opcodeName: String, offset: Int) {
    self.kind = kind
    verdict = judgement.verdict
    knownFor = judgement.knownFor
    opcode = opcodeName
    self.offset = offset
  }

  init(_ kind: Kind, opcode: PickleOpcode, offset: Int) {
    self.init(kind, Self.judgement(of: kind), opcode: opcode, offset: offset)
  }

  private static func judgement(of kind: Kind) -> PickleGlobalJudgement {
    switch kind {
    case .global(let name): return PickleGlobalJudgement(of: name)
    case .computedGlobal:
      return .init(.dangerous, "hides which class or function is meant")
    case .extensionCode:
      return .init(.dangerous, "stands for a class or function that is named outside the file")
    case .call(let callee, _), .state(let callee, isGlobal: false):
      guard let callee else { return .init(.dangerous, "uses something computed as a function") }
      return PickleGlobalJudgement(of: callee)
    case .state(_, isGlobal: true):
      return .init(.dangerous, "changes a class, function or module itself")
    case .persistentIdentifier: return .init(.allowed, nil)
    }
  }
}

/// How far a class or function that a pickle names is to be trusted.
public enum PickleVerdict: String, Codable, CaseIterable, Sendable {
  /// Known to be data or a constructor of data.
  case allowed
  /// Nothing is known about it.
  case unknown
  /// Known to run code, to reach the network or the file system, or to hide what is called.
  case dangerous
}

/// What a pickle would make Python do, as far as it could be followed.
struct PickleRecord: Sendable {
  let events: [PickleEvent]
  /// The objects; without a root where there is a problem.
  let graph: PickleGraph
  /// Why the pickle could not be followed to its end.
  let problem: ModelError?
}

extension PickleOpcode {
  /// As CPython's `pickletools` names the opcode.
  var name: String {
    switch self {
    case .global: "GLOBAL"
    case .stackGlobal: "STACK_GLOBAL"
    case .inst: "INST"
    case .obj: "OBJ"
    case .reduce: "REDUCE"
    case .newObj: "NEWOBJ"
    case .newObjEx: "NEWOBJ_EX"
    case .build: "BUILD"
    case .persID: "PERSID"
    case .binPersID: "BINPERSID"
    case .ext1: "EXT1"
    case .ext2: "EXT2"
    case .ext4: "EXT4"
    default: "\(self)".uppercased()
    }
  }
}
