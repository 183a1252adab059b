import Storage

/// Everything in a file that a program would execute on loading it, found without executing any of
/// it.
///
/// Pickles are found by content, whatever their names: in the file itself, in zip and tar archives
/// and archives inside them, in NumPy object arrays, one after another in a stream, and inside the
/// strings and bytes of other pickles. The audit also reports whatever else a container's own
/// program runs or loads: Python modules, classes that a configuration names, templates, libraries.
/// Anything that cannot be read to its end, or is of no known kind, is a problem, and a file with a
/// problem is never clean.
package struct FileAudit: Sendable {
  /// The outcome of an audit.
  package enum Verdict: String, Codable, CaseIterable, Sendable {
    /// The file was read whole, and it holds nothing but data.
    case clean
    /// The file holds a dangerous or unknown class, function or call, or something else that runs.
    case suspicious
    /// Nothing dangerous was found, but not everything could be read.
    case unreadable
  }

  /// One pickle.
  package struct Pickle: Sendable {
    /// The location inside the file: archive entries and positions, outermost first; empty for the
    /// file itself.
    package let place: String
    /// The effects that loading the pickle would have, in the order of its bytes.
    package let events: [PickleEvent]
    /// The reason why the pickle could not be followed to its end; `nil` if it was.
    package let problem: String?
  }

  /// Something other than a pickle that a program runs or loads because it is in the file.
  package struct Program: Hashable, Sendable {
    /// The kind of a program.
    package enum Kind: String, Codable, CaseIterable, Sendable {
      /// The text of a program, such as a Python module.
      case source
      /// A class or function that a configuration names, which loading imports and calls.
      case configuredClass = "configured-class"
      /// A template that is run for each input, such as Jinja's.
      case template
      /// Machine code or bytecode.
      case library
      /// An operator of a graph that a library outside the file provides.
      case customOperator = "custom-operator"
      /// Another file that loading would open.
      case reference
    }

    /// The location inside the file, outermost first; empty for the file itself.
    package let place: String
    /// The kind of the program.
    package let kind: Kind
    /// The class, template, operator or file; `nil` if the place already identifies it.
    package let name: String?
    /// Whether the program is known to do harm, or nothing is known about it.
    package let verdict: PickleVerdict
    /// The effect of the program.
    package let knownFor: String
  }

  /// Something that could not be read.
  package struct Problem: Hashable, Sendable {
    /// The file, or the member of an archive.
    package let place: String
    /// What is wrong, as a lower-case sentence.
    package let message: String
    /// The byte where the problem was found; `nil` if no particular byte is at fault.
    package let offset: Int?
  }

  /// All pickles found, including pickles inside pickles.
  package private(set) var pickles: [Pickle] = []
  /// Everything else that a program would run or load, in the order of the file.
  package private(set) var programs: [Program] = []
  /// Everything that could not be read to its end.
  package private(set) var problems: [Problem] = []
  /// Notes for the user, such as on programs that are not Python's.
  package private(set) var notes: [String] = []

  /// The byte counts of the storages that the pickles of the current archive name, by storage key;
  /// `nil` for storages of an unknown type.
  var storageByteCounts: [String: Set<Int?>] = [:]
  /// The members of the current archive that its own index declares to be plain numbers.
  var plainMembers: Set<String> = []

  /// The depth to which archives inside archives, and pickles inside pickles, are followed.
  static let depthLimit = 8
  /// The number of pickles after which a file is not followed further.
  static let pickleLimit = 100_000

  /// The worst finding.
  package var verdict: Verdict {
    // A program outside the pickles runs whatever the rest of the file holds.
    guard programs.isEmpty else { return .suspicious }
    var isUnknown = false
    for event in pickles.lazy.flatMap(\.events) {
      if event.verdict == .dangerous { return .suspicious }
      if event.verdict == .unknown { isUnknown = true }
    }
    // Something merely unknown here may turn out dangerous in the part that could not be read.
    return problems.isEmpty ? (isUnknown ? .suspicious : .clean) : .unreadable
  }

  /// Audits `file`, which is read but never executed.
  package init(of file: InputFile) {
    audit(file)
    if verdict == .clean { requireReadable(file) }
  }

  /// Reports a problem if the reader refuses the checkpoint, for its nesting for instance.
  private mutating func requireReadable(_ file: InputFile) {
    let format = PyTorchFormat()
    guard format.recognizes(file) else { return }
    do {
      _ = try format.read(file)
    } catch {
      addProblem(error, place: "")
    }
  }

  // MARK: Collecting

  mutating func add(_ pickle: Pickle) { pickles.append(pickle) }

  mutating func addProgram(
    _ kind: Program.Kind, _ name: String? = nil, place: String,
    _ verdict: PickleVerdict, _ knownFor: String
  ) {
    let program = Program(
      place: place, kind: kind, name: name, verdict: verdict, knownFor: knownFor)
    if !programs.contains(program) { programs.append(program) }
  }

  mutating func addProblem(_ error: any Error, place: String) {
    let error = error as? ModelError
    let inner = (error?.tensor ?? error?.entry).map {
      place.isEmpty ? $0 : place.hasSuffix($0) ? place : "\(place)/\($0)"
    }
    problems.append(
      Problem(
        place: inner ?? place, message: error?.problem.description ?? "it cannot be read",
        offset: error?.offset))
  }

  mutating func addProblem(_ message: String, place: String, offset: Int? = nil) {
    problems.append(Problem(place: place, message: message, offset: offset))
  }

  mutating func addNote(_ note: String) {
    if !notes.contains(note) { notes.append(note) }
  }

  static func join(_ place: String, _ inner: String) -> String {
    place.isEmpty ? inner : "\(place)/\(inner)"
  }
}
