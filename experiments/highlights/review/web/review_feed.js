// Takes what the server says into the store, gives it what the person wants, and hears the keys.
import { choose, clear, judge, markEnd, markStart, parts, receive, reel, step, store } from "review/store.js";

const KEYS = {
  " ": () => parts.toggle(),
  a: () => judge(store.chosen, true),
  r: () => judge(store.chosen, false),
  c: () => clear(store.chosen),
  n: () => step(1),
  p: () => step(-1),
  i: markStart,
  o: () => markEnd(true),
  x: () => markEnd(false),
  d: () => parts.act({ name: "finish", finished: !store.finished }),
  u: () => parts.act({ name: "undo" }),
  z: () => store.chosen && parts.reveal(store.chosen.start, store.chosen.end, true),
  v: () => store.numRecordings > 1 && parts.go((store.recording + 1) % store.numRecordings),
  b: () => store.labelling && (store.drawing = !store.drawing),
  Escape: () => {
    store.mark = null;
    store.drawing = false;
    choose(null);
  },
};

export default {
  template: "<div hidden></div>",
  props: { recording: Object, view: Object, copies: Object },
  emits: ["act", "go", "copy"],
  created() {
    this.open(this.recording);
    receive(this.view || {});
    // The answer is for the recording that was shown when it was asked for.
    parts.act = (act) => this.$emit("act", { ...act, recording: store.recording });
    parts.go = (recording) => this.$emit("go", recording);
    parts.copy = (number) => this.$emit("copy", number);
    document.addEventListener("keydown", this.hear, true);
    document.addEventListener("click", this.letGo);
  },
  unmounted() {
    document.removeEventListener("keydown", this.hear, true);
    document.removeEventListener("click", this.letGo);
  },
  watch: {
    view(view) {
      receive(view);
    },
    recording(recording) {
      if (recording.recording !== store.recording) this.open(recording);
    },
    copies(copies) {
      store.copies = copies;
    },
  },
  methods: {
    open(recording) {
      Object.assign(store, recording, { time: 0, mark: null, chosen: null, drawing: false });
      store.window = { start: 0, end: store.duration };
    },
    playReel() {
      parts.play(reel().map((one) => [one.start, one.end]));
    },
    hear(event) {
      const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      const busy = event.ctrlKey || event.metaKey || event.altKey || document.querySelector(".q-dialog");
      const typing = event.target.matches("input:not([type=range]), textarea, select");
      const pressing = key === " " && event.target.matches("button, [role=button]");
      if (typing && key === "Enter") event.target.blur();
      if (!(key in KEYS) || busy || typing || pressing) return;
      event.preventDefault(); // the video has keys of its own
      event.stopPropagation();
      if (!event.repeat || key === "n" || key === "p") KEYS[key]();
    },
    // A button that was clicked would take the next space for another click.
    letGo(event) {
      if (event.detail > 0) event.target.closest("button")?.blur();
    },
  },
};
