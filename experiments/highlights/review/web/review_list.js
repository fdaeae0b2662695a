// The segments as a list, with what can be done to each.
import { choose, clear, clock, judge, parts, store } from "review/store.js";

const BUTTONS = [
  ["play_arrow", "play", "Play", (one) => parts.play([[one.start, one.end]])],
  ["check", "accept", "Accept (a)", (one) => judge(one, true)],
  ["close", "reject", "Reject (r)", (one) => judge(one, false)],
  ["restart_alt", "clear", "Take the decision back (c)", clear],
];

export default {
  template: `
    <div class="segments" role="listbox" aria-label="Segments">
      <div v-if="store.empty" class="empty">{{ store.empty }}</div>
      <div v-for="(one, place) in store.segments" :key="one.key" class="segment"
        :class="[one.state, { chosen: one.key === store.chosen?.key }]" :data-key="one.key"
        role="option" :aria-selected="one.key === store.chosen?.key" @click="choose(one)">
        <span class="number">{{ place + 1 }}</span>
        <span class="when">{{ clock(one.start) }}</span>
        <span class="length">{{ length(one) }}</span>
        <span class="score" title="Highest smoothed score">{{ one.score.toFixed(2) }}</span>
        <span class="state">{{ one.state }}</span>
        <span class="buttons">
          <button v-for="[icon, name, title, run] in buttons(one)" :key="name" :class="name"
            type="button" :title="title" :aria-label="title" @click.stop="press(one, run)">
            <q-icon :name="icon" />
          </button>
        </span>
      </div>
    </div>`,
  data: () => ({ store }),
  watch: {
    "store.chosen.key"() {
      this.$nextTick(() => this.$el.querySelector(".chosen")?.scrollIntoView({ block: "nearest" }));
    },
  },
  methods: {
    choose,
    clock,
    length(one) {
      const seconds = one.end - one.start;
      return seconds < 100 ? `${seconds.toFixed(1)} s` : clock(seconds, 0);
    },
    buttons(one) {
      return BUTTONS.filter(([, name]) => name !== "clear" || one.state !== "automatic");
    },
    press(one, run) {
      choose(one, { seek: false });
      run(one);
    },
  },
};
